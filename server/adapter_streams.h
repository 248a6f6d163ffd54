// What DownloadAdapter and ExportRecipe send.

#ifndef STOCKPOT_SERVER_ADAPTER_STREAMS_H_
#define STOCKPOT_SERVER_ADAPTER_STREAMS_H_

#include <string>

#include "absl/status/statusor.h"

#include "proto/stockpot/v1/registry.pb.h"

#include "base/stop_check.h"
#include "server/download_reactor.h"
#include "server/serving.h"

namespace stockpot {

// The stored bytes of `adapter`, as in Skill.adapter. Blocks on storage.
// Errors: InvalidArgument, NotFound, DataLoss.
absl::StatusOr<AdapterStream> OpenStoredAdapter(const Serving& serving,
                                                const std::string& adapter);

// A recipe as a PEFT LoRA adapter. Blocks on storage and composes. `stopped`:
// the call has ended.
// Errors: those of ResolveRecipe(), Composer::Compose() and
// RecipeExporter::Export(); InvalidArgument for a bad name.
absl::StatusOr<AdapterStream> OpenExportedRecipe(
    const Serving& serving, const v1::ExportRecipeRequest& request,
    const StopCheck& stopped);

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_ADAPTER_STREAMS_H_
