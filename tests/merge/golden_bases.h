// Golden files of adapters: base models, adapters of theirs, and the logits of
// PEFT for each (tests/golden/make_kind_goldens.py, make_end_goldens.py).

#ifndef STOCKPOT_TESTS_MERGE_GOLDEN_BASES_H_
#define STOCKPOT_TESTS_MERGE_GOLDEN_BASES_H_

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/merge/kitchen.h"
#include "tests/testing/model_driver.h"
#include "tests/testing/tiny_adapter.h"
#include "tests/testing/tiny_model.h"

namespace stockpot::testing {

struct GoldenAdapter {
  std::string name;
  TinyAdapter files;
  Rows logits;  // Alone at weight 1, [tokens][vocab].
};

struct GoldenMix {
  std::string name;
  std::vector<Kitchen::Skill> skills;
  Rows logits;
};

// What a recipe is exported as, and PEFT's logits of that.
struct GoldenExport {
  std::string name;
  std::vector<Kitchen::Skill> skills;
  nlohmann::ordered_json config;
  std::vector<TinyTensor> tensors;
  Rows logits;
};

struct GoldenBase {
  std::string name;
  TinyModelSpec spec;
  std::vector<int32_t> tokens;
  Rows base_logits;
  std::vector<GoldenAdapter> adapters;
  std::vector<GoldenMix> mixes;
  std::vector<GoldenExport> exports;  // Of make_end_goldens.py.
};

inline Rows Split(const std::vector<float>& flat, size_t vocab) {
  Rows rows;
  for (size_t i = 0; i < flat.size(); i += vocab) {
    rows.emplace_back(flat.begin() + static_cast<int64_t>(i),
                      flat.begin() + static_cast<int64_t>(i + vocab));
  }
  return rows;
}

// [rows, columns] elements of `size` bytes, as [columns, rows].
inline std::string Transposed(const std::string& bytes,
                              const std::vector<int64_t>& shape, size_t size) {
  const auto rows = static_cast<size_t>(shape[0]);
  const auto columns = static_cast<size_t>(shape[1]);
  std::string out;
  for (size_t c = 0; c < columns; ++c) {
    for (size_t r = 0; r < rows; ++r) {
      out += bytes.substr((r * columns + c) * size, size);
    }
  }
  return out;
}

inline TinyAdapter FilesOf(const nlohmann::ordered_json& adapter) {
  const Dtype dtype = *DtypeFromName(adapter.at("dtype").get<std::string>());
  std::vector<RawTensor> tensors;
  for (const nlohmann::ordered_json& t : adapter.at("tensors")) {
    TinyTensor tensor{t.at(0), t.at(1).get<std::vector<int64_t>>()};
    tensors.push_back({tensor.name, dtype, tensor.shape, ""});
    // Values of another tensor, perhaps transposed.
    const bool is_other = t.size() > 2;
    const bool is_transposed = is_other && t.at(2).at("transposed");
    if (is_other) tensor.name = t.at(2).at("name");
    if (is_transposed) std::reverse(tensor.shape.begin(), tensor.shape.end());
    const nlohmann::ordered_json& seed = is_other ? t.at(2) : adapter;
    std::string bytes = TinyTensorBytes(tensor, seed.at("seed"), dtype);
    tensors.back().bytes =
        is_transposed ? Transposed(bytes, tensor.shape,
                                   static_cast<size_t>(DtypeBytes(dtype)))
                      : std::move(bytes);
  }
  return {adapter.at("config").dump(), SafetensorsFile(tensors)};
}

// `path` without its extension.
inline std::vector<GoldenBase> ReadGoldens(const std::string& path) {
  const auto tensors = ReadFloats(path + ".safetensors");
  const nlohmann::ordered_json document = ReadJson(path + ".json");
  std::vector<GoldenBase> bases;
  for (const nlohmann::ordered_json& b : document.at("bases")) {
    GoldenBase base;
    base.name = b.at("name");
    base.spec.config = b.at("config");
    base.spec.seed = b.at("seed");
    base.tokens = b.at("tokens").get<std::vector<int32_t>>();
    const size_t vocab = b.at("config").at("vocab_size");
    const auto rows = [&](const nlohmann::ordered_json& key) {
      return Split(tensors.at(key.get<std::string>()), vocab);
    };
    base.base_logits = rows(b.at("base_logits"));
    for (const nlohmann::ordered_json& a : b.at("adapters")) {
      base.adapters.push_back({a.at("name"), FilesOf(a), rows(a.at("logits"))});
    }
    for (const nlohmann::ordered_json& m : b.at("mixes")) {
      GoldenMix mix{m.at("name"), {}, rows(m.at("logits"))};
      for (const nlohmann::ordered_json& s : m.at("skills")) {
        mix.skills.push_back({s.at("adapter"), s.at("weight"), {}});
      }
      base.mixes.push_back(std::move(mix));
    }
    for (const nlohmann::ordered_json& e :
         b.value("exports", nlohmann::ordered_json::array())) {
      GoldenExport exported{
          e.at("name"), {}, e.at("config"), {}, rows(e.at("logits"))};
      for (const nlohmann::ordered_json& s : e.at("skills")) {
        exported.skills.push_back({s.at("adapter"), s.at("weight"), {}});
      }
      for (const nlohmann::ordered_json& t : e.at("tensors")) {
        exported.tensors.push_back(
            {t.at(0), t.at(1).get<std::vector<int64_t>>()});
      }
      base.exports.push_back(std::move(exported));
    }
    bases.push_back(std::move(base));
  }
  return bases;
}

inline void RegisterAll(const GoldenBase& base, Kitchen* kitchen) {
  for (const GoldenAdapter& adapter : base.adapters) {
    SCOPED_TRACE(adapter.name);
    kitchen->Register(adapter.name, adapter.files);
  }
}

// Compares every adapter alone at weight 1, token by token and in one step,
// with its golden. REQUIRES: all are registered.
inline void ExpectEachAloneEqualsPeft(const GoldenBase& base, float tolerance,
                                      Kitchen* kitchen) {
  for (const GoldenAdapter& golden : base.adapters) {
    const Recipe recipe = kitchen->MakeRecipe({{golden.name, 1, {}}});
    EXPECT_LE(MaxDifference(kitchen->Run(recipe, base.tokens), golden.logits),
              tolerance)
        << golden.name << " token by token";
    EXPECT_LE(MaxDifference(kitchen->Run(recipe, base.tokens, 1000).back(),
                            golden.logits.back()),
              tolerance)
        << golden.name << " in one step";
    // The comparison means something: the adapter moves the logits.
    EXPECT_GT(MaxDifference(golden.logits, base.base_logits), 0.05f)
        << golden.name;
  }
}

// Likewise every mix.
inline void ExpectMixesFollowTheFormula(const GoldenBase& base, float tolerance,
                                        Kitchen* kitchen) {
  for (const GoldenMix& golden : base.mixes) {
    EXPECT_LE(MaxDifference(
                  kitchen->Run(kitchen->MakeRecipe(golden.skills), base.tokens),
                  golden.logits),
              tolerance)
        << golden.name;
  }
}

// Compares every adapter, every mix and two base rows in one batch, each at a
// position of its own, with the goldens. REQUIRES: all are registered.
inline void ExpectOneBatchEqualsEachAlone(const GoldenBase& base,
                                          float tolerance, Kitchen* kitchen) {
  const auto only = [&](const std::string& name) {
    return kitchen->MakeRecipe({{name, 1, {}}});
  };
  const std::vector<int32_t>& tokens = base.tokens;
  std::vector<std::shared_ptr<const Composition>> compositions;
  std::vector<const Rows*> expected = {&base.base_logits};
  for (const GoldenAdapter& golden : base.adapters) {
    compositions.push_back(kitchen->Compose(only(golden.name)));
    expected.push_back(&golden.logits);
  }
  for (const GoldenMix& golden : base.mixes) {
    compositions.push_back(
        kitchen->Compose(kitchen->MakeRecipe(golden.skills)));
    expected.push_back(&golden.logits);
  }
  expected.push_back(&base.base_logits);
  for (SkillPool* pool : {&kitchen->pool(), &kitchen->stacked_pool()}) {
    const DeltaSet& deltas = pool->Prepare(compositions);
    ModelDriver driver(&kitchen->model());
    std::vector<int> ids;
    for (size_t s = 0; s < expected.size(); ++s) {
      ids.push_back(driver.NewSequence());
    }
    for (size_t step = 0; step < tokens.size() + 3; ++step) {
      std::vector<ModelDriver::Feed> feeds;
      std::vector<std::pair<size_t, size_t>> who;  // Sequence, position.
      for (size_t s = 0; s < expected.size(); ++s) {
        if (step < s % 4 || step - s % 4 >= tokens.size()) continue;
        const size_t position = step - s % 4;
        const bool is_base = s == 0 || s + 1 == expected.size();
        feeds.push_back({.sequence = ids[s],
                         .tokens = {tokens[position]},
                         .mix = is_base ? 0 : static_cast<int32_t>(s)});
        who.emplace_back(s, position);
      }
      const auto rows = driver.Step(feeds, &deltas);
      ASSERT_THAT(rows, IsOk());
      for (size_t i = 0; i < who.size(); ++i) {
        const auto [s, position] = who[i];
        EXPECT_LE(MaxDifference((*rows)[i], (*expected[s])[position]),
                  tolerance)
            << "sequence " << s << " position " << position;
      }
    }
  }
}

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_MERGE_GOLDEN_BASES_H_
