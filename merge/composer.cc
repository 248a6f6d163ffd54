#include "merge/composer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/status_macros.h"
#include "merge/composability.h"

namespace stockpot {

Composer::Composer(AdapterSource* source, const Options& options,
                   Metrics* metrics)
    : source_(source),
      metrics_(metrics),
      adapters_(options.adapter_cache_bytes),
      compositions_(options.composition_cache_bytes) {}

absl::StatusOr<std::shared_ptr<const Adapter>> Composer::GetAdapter(
    const Digest& digest, bool* hit) {
  return adapters_.GetOrBuild(
      digest,
      [&]() -> absl::StatusOr<ChargedCache<Digest, Adapter>::Built> {
        ASSIGN_OR_RETURN(const int64_t bytes, source_->ResidentBytes(digest));
        const int64_t pinned = adapters_.Stats().pinned_charge;
        if (pinned + bytes > adapters_.capacity()) {
          return absl::ResourceExhaustedError(absl::StrCat(
              "adapters of running calls hold ", pinned, " bytes; ", bytes,
              " more do not fit into the adapter cache of ",
              adapters_.capacity(),
              " bytes. Retry later, or raise "
              "--adapter_cache_bytes"));
        }
        ASSIGN_OR_RETURN(std::shared_ptr<const Adapter> adapter,
                         source_->Load(digest));
        const int64_t charge = adapter->bytes;
        return ChargedCache<Digest, Adapter>::Built{std::move(adapter), charge};
      },
      hit);
}

absl::StatusOr<Composer::Result> Composer::Compose(const Recipe& recipe) {
  Result result;
  if (recipe.is_base()) {
    return result;
  }
  const absl::Time start = absl::Now();
  auto composition = std::make_shared<Composition>();
  composition->recipe = recipe.digest();
  for (const RecipeSkill& skill : recipe.skills()) {
    bool hit = false;
    ASSIGN_OR_RETURN(std::shared_ptr<const Adapter> adapter,
                     GetAdapter(skill.adapter, &hit));
    result.hit = result.hit && hit;
    composition->skills.push_back({std::move(adapter), nullptr});
  }
  RETURN_IF_ERROR(CheckComposable(recipe, composition->skills));
  bool hit = false;
  ASSIGN_OR_RETURN(
      composition->mix,
      compositions_.GetOrBuild(
          recipe.digest(),
          [&]() -> absl::StatusOr<
                    ChargedCache<Digest, MixingCoefficients>::Built> {
            auto mix = std::make_shared<MixingCoefficients>();
            for (size_t i = 0; i < recipe.skills().size(); ++i) {
              std::vector<float> row = recipe.skills()[i].weights;
              const Adapter& adapter = *composition->skills[i].adapter;
              for (size_t m = 0; m < row.size(); ++m) {
                row[m] *= adapter.scales[m];
              }
              mix->by_skill.push_back(std::move(row));
            }
            const int64_t bytes = mix->bytes();
            return ChargedCache<Digest, MixingCoefficients>::Built{
                std::move(mix), bytes};
          },
          &hit));
  result.hit = result.hit && hit;
  for (size_t i = 0; i < composition->skills.size(); ++i) {
    composition->skills[i].coefficients = &composition->mix->by_skill[i];
  }
  if (metrics_ != nullptr) {
    (result.hit ? metrics_->composition_hits : metrics_->composition_misses)
        .Add();
    if (!result.hit) {
      metrics_->composition_build_time.Observe(absl::Now() - start);
    }
  }
  result.composition = std::move(composition);
  return result;
}

}  // namespace stockpot
