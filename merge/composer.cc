#include "merge/composer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "base/retry_after.h"
#include "base/status_macros.h"
#include "merge/composability.h"
#include "merge/mixing.h"

namespace stockpot {

Composer::Composer(AdapterSource* source, const Options& options,
                   Metrics* metrics, AdapterMerger* merger)
    : source_(source),
      merger_(merger),
      modules_(options.modules),
      metrics_(metrics),
      adapters_(options.adapter_cache_bytes),
      compositions_(options.composition_cache_bytes) {}

absl::Status Composer::Reserve(const Digest& key, int64_t bytes) {
  if (bytes > adapters_.capacity()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the adapter takes ", bytes, " bytes, the whole adapter cache has ",
        adapters_.capacity(), ". Raise --adapter_cache_bytes"));
  }
  int64_t taken = 0;
  if (!adapters_.Reserve(key, bytes, &taken)) {
    return WithRetryAfter(
        absl::ResourceExhaustedError(absl::StrCat(
            "adapters of running calls, and those being loaded, hold ", taken,
            " bytes; ", bytes, " more do not fit into the adapter cache of ",
            adapters_.capacity(),
            " bytes. Retry later, or raise --adapter_cache_bytes")),
        absl::Seconds(1));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Adapter>> Composer::GetAdapter(
    const Digest& digest, bool* hit, const StopCheck& stopped) {
  return adapters_.GetOrBuild(
      digest,
      [&]() -> absl::StatusOr<ChargedCache<Digest, Adapter>::Built> {
        ASSIGN_OR_RETURN(const int64_t bytes, source_->ResidentBytes(digest));
        RETURN_IF_ERROR(Reserve(digest, bytes));
        ASSIGN_OR_RETURN(std::shared_ptr<const Adapter> adapter,
                         source_->Load(digest));
        const int64_t charge = adapter->bytes;
        return ChargedCache<Digest, Adapter>::Built{std::move(adapter), charge};
      },
      hit, stopped);
}

absl::StatusOr<Composer::AdapterList> Composer::GetAdapters(
    const Recipe& recipe, bool* hit, const StopCheck& stopped) {
  AdapterList adapters;
  std::vector<ComposedSkill> skills;
  for (const RecipeSkill& skill : recipe.skills()) {
    bool hit_one = false;
    ASSIGN_OR_RETURN(std::shared_ptr<const Adapter> adapter,
                     GetAdapter(skill.adapter, &hit_one, stopped));
    *hit = *hit && hit_one;
    adapters.push_back(std::move(adapter));
    skills.push_back({.adapter = adapters.back()});
  }
  RETURN_IF_ERROR(CheckComposable(recipe, skills, modules_));
  return adapters;
}

absl::StatusOr<std::shared_ptr<const Composition>> Composer::Mix(
    const Recipe& recipe, const StopCheck& stopped, Temperature* temperature) {
  auto composition = std::make_shared<Composition>();
  composition->recipe = recipe.digest();
  bool in_memory = true;
  ASSIGN_OR_RETURN(const AdapterList adapters,
                   GetAdapters(recipe, &in_memory, stopped));
  bool hit_mix = false;
  ASSIGN_OR_RETURN(
      composition->mix,
      compositions_.GetOrBuild(
          recipe.digest(),
          [&]() -> absl::StatusOr<
                    ChargedCache<Digest, MixingCoefficients>::Built> {
            ASSIGN_OR_RETURN(MixingCoefficients mix,
                             MixingOf(recipe, adapters, modules_));
            const int64_t bytes = mix.bytes();
            return ChargedCache<Digest, MixingCoefficients>::Built{
                std::make_shared<const MixingCoefficients>(std::move(mix)),
                bytes};
          },
          &hit_mix));
  *temperature = !in_memory ? Temperature::kCold
                 : hit_mix  ? Temperature::kHot
                            : Temperature::kWarm;
  const MixingCoefficients& mix = *composition->mix;
  for (size_t i = 0; i < adapters.size(); ++i) {
    composition->skills.push_back(
        {.adapter = adapters[i],
         .coefficients = &mix.by_skill[i],
         .shrink = mix.rank_one() ? &mix.shrink_by_skill[i] : nullptr});
  }
  return composition;
}

absl::StatusOr<std::shared_ptr<const Composition>> Composer::Derive(
    const Recipe& recipe, const StopCheck& stopped, Temperature* temperature) {
  if (merger_ == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("recipe.method \"", MethodName(recipe.options().method),
                     "\" is not built yet in this daemon"));
  }
  bool in_memory = true;
  const auto merge =
      [&]() -> absl::StatusOr<ChargedCache<Digest, Adapter>::Built> {
    const Digest& key = recipe.digest();
    // Others may want the merge when this call does not: only they all stop it.
    // Not while waiting for skills, where it would use the cache with its lock
    // held.
    ASSIGN_OR_RETURN(const AdapterList skills,
                     GetAdapters(recipe, &in_memory, /*stopped=*/nullptr));
    ASSIGN_OR_RETURN(const int64_t bytes, merger_->MergedBytes(recipe, skills));
    RETURN_IF_ERROR(Reserve(key, bytes));
    ASSIGN_OR_RETURN(
        std::shared_ptr<const Adapter> adapter,
        merger_->Merge(recipe, skills, [&] { return !adapters_.Wanted(key); }));
    const int64_t charge = adapter->bytes;
    return ChargedCache<Digest, Adapter>::Built{std::move(adapter), charge};
  };
  bool hit = false;
  ASSIGN_OR_RETURN(std::shared_ptr<const Adapter> adapter,
                   adapters_.GetOrBuild(recipe.digest(), merge, &hit, stopped));
  *temperature = hit         ? Temperature::kHot
                 : in_memory ? Temperature::kWarm
                             : Temperature::kCold;
  auto mix = std::make_shared<MixingCoefficients>();
  mix->by_skill.push_back(adapter->scales);
  auto composition = std::make_shared<Composition>();
  composition->recipe = recipe.digest();
  composition->skills.push_back(
      {.adapter = std::move(adapter), .coefficients = &mix->by_skill[0]});
  composition->mix = std::move(mix);
  return composition;
}

absl::StatusOr<Composer::Result> Composer::Compose(const Recipe& recipe,
                                                   const StopCheck& stopped) {
  Result result;
  if (recipe.is_base()) {
    return result;
  }
  const absl::Time start = absl::Now();
  ASSIGN_OR_RETURN(result.composition,
                   IsDerived(recipe.options())
                       ? Derive(recipe, stopped, &result.temperature)
                       : Mix(recipe, stopped, &result.temperature));
  result.hit = result.temperature == Temperature::kHot;
  if (metrics_ != nullptr) {
    metrics_->CountComposition(result.temperature, absl::Now() - start);
  }
  return result;
}

}  // namespace stockpot
