#include "server/adapter_streams.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "merge/recipe_exporter.h"
#include "registry/adapter_ref.h"
#include "server/saved_recipes.h"

namespace stockpot {

absl::StatusOr<AdapterStream> OpenStoredAdapter(const Serving& serving,
                                                const std::string& adapter) {
  ASSIGN_OR_RETURN(const AdapterRef ref, AdapterRef::Parse(adapter));
  ASSIGN_OR_RETURN(const AdapterRecord record, serving.store->Get(ref));
  ASSIGN_OR_RETURN(std::unique_ptr<BlobReader> opened,
                   serving.store->OpenBlob(record.digest));
  AdapterStream stream;
  v1::AdapterMetadata& metadata = stream.metadata;
  metadata.set_name(record.name);
  metadata.set_version(record.version);
  metadata.set_size_bytes(record.size_bytes);
  metadata.set_sha256(record.safetensors_sha256.ToHex());
  metadata.set_adapter_config(record.adapter_config);
  metadata.mutable_labels()->insert(record.labels.begin(), record.labels.end());
  metadata.set_description(record.description);
  metadata.set_card(record.card);
  metadata.set_license(record.license);
  stream.next = [blob = std::shared_ptr<BlobReader>(std::move(opened))](
                    std::string* chunk) { return blob->Next(chunk); };
  return stream;
}

absl::StatusOr<AdapterStream> OpenExportedRecipe(
    const Serving& serving, const v1::ExportRecipeRequest& request,
    const StopCheck& stopped) {
  AdapterStream stream;
  if (!request.name().empty()) {
    RETURN_IF_ERROR(ValidateName(request.name()));
    stream.metadata.set_name(request.name());
  }
  ASSIGN_OR_RETURN(const ResolvedCallRecipe resolved,
                   ResolveChoice(request, serving));
  ASSIGN_OR_RETURN(Composer::Result composed,
                   serving.composer->Compose(resolved.recipe, stopped));
  ASSIGN_OR_RETURN(std::shared_ptr<AdapterExport> exported,
                   serving.exporter->Export(std::move(composed.composition)));
  stream.metadata.set_size_bytes(exported->size_bytes());
  stream.metadata.set_sha256(exported->sha256().ToHex());
  stream.metadata.set_adapter_config(exported->adapter_config());
  stream.metadata.set_description(
      absl::StrCat("Recipe ", resolved.recipe.digest().ToString(), ", method ",
                   resolved.wire.method()));
  stream.next = [exported](std::string* chunk) {
    return exported->Next(chunk);
  };
  return stream;
}

}  // namespace stockpot
