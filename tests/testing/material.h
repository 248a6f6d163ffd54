// Where test material that others made lies: models, tokenizers, adapters that
// the repository does not hold.

#ifndef STOCKPOT_TESTS_TESTING_MATERIAL_H_
#define STOCKPOT_TESTS_TESTING_MATERIAL_H_

#include <cstdlib>
#include <filesystem>
#include <string>

namespace stockpot::testing {

// The path of `name` under $STOCKPOT_MATERIAL (default: ../shared/material
// beside the repository), or "" if there is no such file.
inline std::string MaterialPath(const std::string& name) {
  const char* root = std::getenv("STOCKPOT_MATERIAL");
  const std::string path =
      (root != nullptr ? std::string(root)
                       : STOCKPOT_SOURCE_DIR "/../shared/material") +
      "/" + name;
  return std::filesystem::exists(path) ? path : std::string();
}

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_TESTING_MATERIAL_H_
