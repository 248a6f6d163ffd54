#include "bench/workload.h"

#include <random>

namespace stockpot {

stockpot::v1::GenerateRequest Workload::Request(int64_t index) const {
  const auto number = static_cast<uint64_t>(index);
  std::seed_seq seeds{options_.seed, options_.seed >> 32, number, number >> 32};
  std::mt19937_64 random(seeds);
  stockpot::v1::GenerateRequest request;
  const int32_t length = options_.prompt_length.Sample(random);
  request.mutable_limits()->set_max_new_tokens(
      static_cast<uint32_t>(options_.output_length.Sample(random)));
  request.mutable_limits()->set_ignore_eos(true);
  const int32_t recipe = options_.recipes.Choose(index, random);
  if (recipe >= 0) {
    for (const int32_t skill : options_.recipes.recipe(recipe)) {
      auto* part = request.mutable_recipe()->add_skills();
      part->set_adapter(options_.recipes.skill(skill));
      part->set_weight(options_.skill_weight);
    }
  }
  auto* ids = request.mutable_prompt()->mutable_token_ids()->mutable_ids();
  std::uniform_int_distribution<uint32_t> id(options_.first_token_id,
                                             options_.vocabulary - 1);
  for (int32_t i = 0; i < length; ++i) {
    ids->Add(id(random));
  }
  request.mutable_sampling()->set_temperature(options_.temperature);
  request.mutable_sampling()->set_seed(number);
  return request;
}

}  // namespace stockpot
