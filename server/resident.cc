#include "server/resident.h"

#include <map>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/status_macros.h"
#include "registry/adapter_ref.h"
#include "server/pinned_recipes.h"
#include "server/saved_recipes.h"

namespace stockpot {

absl::Status WarmRecipe(const v1::WarmRecipeRequest& request,
                        const Serving& serving, const StopCheck& stopped,
                        v1::ResolvedRecipe* response) {
  ASSIGN_OR_RETURN(ResolvedCallRecipe resolved,
                   ResolveChoice(request, serving));
  RETURN_IF_ERROR(serving.composer->Compose(resolved.recipe, stopped).status());
  *response = std::move(resolved.wire);
  return absl::OkStatus();
}

absl::Status PinRecipe(const v1::PinRecipeRequest& request,
                       const Serving& serving, const StopCheck& stopped,
                       v1::ResolvedRecipe* response) {
  ASSIGN_OR_RETURN(ResolvedCallRecipe resolved,
                   ResolveChoice(request, serving));
  ASSIGN_OR_RETURN(Composer::Result composed,
                   serving.composer->Compose(resolved.recipe, stopped));
  RETURN_IF_ERROR(
      serving.pinned->Pin(resolved.wire, std::move(composed.composition)));
  *response = std::move(resolved.wire);
  return absl::OkStatus();
}

absl::Status UnpinRecipe(const v1::UnpinRecipeRequest& request,
                         const Serving& serving, v1::ResolvedRecipe* response) {
  const absl::StatusOr<Digest> digest = Digest::FromHex(request.digest());
  if (!digest.ok()) {
    return absl::InvalidArgumentError(
        "digest must be a recipe's, 64 lower-case hex digits, as PinRecipe "
        "returned it");
  }
  ASSIGN_OR_RETURN(*response, serving.pinned->Unpin(*digest));
  return absl::OkStatus();
}

absl::Status ListResident(const Serving& serving,
                          v1::ListResidentResponse* response) {
  std::map<Digest, v1::ResidentComposition> compositions;
  for (auto& [digest, resolved] : serving.pinned->All()) {
    v1::ResidentComposition& composition = compositions[digest];
    *composition.mutable_recipe() = resolved;
    composition.set_pinned(true);
  }
  const auto add = [&](const CacheEntry<Digest>& entry) {
    v1::ResidentComposition& composition = compositions[entry.key];
    composition.mutable_recipe()->set_digest(entry.key.ToHex());
    composition.set_bytes(composition.bytes() +
                          static_cast<uint64_t>(entry.charge));
    composition.set_uses(composition.uses() +
                         static_cast<uint32_t>(entry.uses));
  };
  for (const CacheEntry<Digest>& entry : serving.composer->Compositions()) {
    add(entry);
  }
  for (const CacheEntry<Digest>& entry : serving.composer->Adapters()) {
    AdapterRef ref;
    ref.digest = entry.key;
    absl::StatusOr<AdapterRecord> record = serving.store->Get(ref);
    if (absl::IsNotFound(record.status())) {
      // Made from a recipe; or deleted while in use.
      add(entry);
      continue;
    }
    RETURN_IF_ERROR(record.status());
    v1::ResidentAdapter* adapter = response->add_adapters();
    adapter->set_name(record->name);
    adapter->set_version(record->version);
    adapter->set_digest(entry.key.ToHex());
    adapter->set_bytes(static_cast<uint64_t>(entry.charge));
    adapter->set_tier(serving.model.device == "cpu" ? "host" : "device");
    adapter->set_uses(static_cast<uint32_t>(entry.uses));
  }
  for (auto& [digest, composition] : compositions) {
    *response->add_compositions() = std::move(composition);
  }
  return absl::OkStatus();
}

}  // namespace stockpot
