#include "server/registry_service.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "base/status_macros.h"
#include "registry/adapter_ref.h"
#include "server/adapter_proto.h"
#include "server/adapter_streams.h"
#include "server/download_reactor.h"
#include "server/grpc_status.h"
#include "server/parked_uploads.h"
#include "server/saved_recipes.h"
#include "server/unary.h"
#include "server/upload_reactor.h"

namespace stockpot {

namespace {

// A stream that ends before it begins.
class EndedReadReactor
    : public grpc::ServerReadReactor<v1::RegisterAdapterRequest> {
 public:
  explicit EndedReadReactor(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

absl::StatusOr<AdapterRecord> Get(const std::string& name,
                                  AdapterStore* store) {
  ASSIGN_OR_RETURN(const AdapterRef ref, AdapterRef::Parse(name));
  return store->Get(ref);
}

// Fills `response` and calls `end` once, then or after the inspection.
void GetWithInspection(const Serving& serving, const std::string& name,
                       v1::Adapter* response,
                       const std::function<void(const absl::Status&)>& end) {
  const absl::StatusOr<AdapterRecord> record = Get(name, serving.store);
  if (!record.ok()) {
    end(record.status());
    return;
  }
  *response = ToWire(*record);
  serving.inspections->Get(
      record->digest,
      [response, end](std::optional<v1::AdapterInspection> inspection) {
        if (inspection.has_value()) {
          *response->mutable_inspection() = *std::move(inspection);
        }
        end(absl::OkStatus());
      });
}

absl::Status FindUpload(const std::string& id, ParkedUploads* parked,
                        v1::GetUploadResponse* response) {
  ASSIGN_OR_RETURN(const ParkedUploads::Progress progress, parked->Find(id));
  response->set_received_bytes(progress.received_bytes);
  if (progress.expire_time.has_value()) {
    *response->mutable_expire_time() = ToWire(*progress.expire_time);
  }
  return absl::OkStatus();
}

absl::Time FromWire(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) +
         absl::Nanoseconds(time.nanos());
}

AdapterFilter ToFilter(const v1::AdapterFilter& wire) {
  AdapterFilter filter;
  filter.min_rank = wire.min_rank();
  filter.max_rank = wire.max_rank();
  filter.min_bytes = wire.min_size_bytes();
  filter.max_bytes = wire.max_size_bytes();
  if (wire.has_created_from()) {
    filter.created_from = FromWire(wire.created_from());
  }
  if (wire.has_created_before()) {
    filter.created_before = FromWire(wire.created_before());
  }
  filter.target_modules.assign(wire.target_modules().begin(),
                               wire.target_modules().end());
  filter.base_model = wire.base_model();
  filter.text = wire.text();
  return filter;
}

absl::Status List(const v1::ListAdaptersRequest& request, AdapterStore* store,
                  v1::ListAdaptersResponse* response) {
  ListOptions options;
  options.name_prefix = request.name_prefix();
  options.labels.insert(request.labels().begin(), request.labels().end());
  options.all_versions = request.all_versions();
  options.deleted = request.deleted();
  options.filter = ToFilter(request.filter());
  options.page_size = request.page_size();
  options.page_token = request.page_token();
  ASSIGN_OR_RETURN(const AdapterPage page, store->List(options));
  for (const AdapterRecord& record : page.records) {
    *response->add_adapters() = ToWire(record);
  }
  response->set_next_page_token(page.next_page_token);
  return absl::OkStatus();
}

// Without a mask every field that is set is written.
absl::StatusOr<AdapterUpdate> ToUpdate(
    const v1::UpdateAdapterRequest& request) {
  AdapterUpdate update;
  const auto set_labels = [&] {
    update.labels.emplace(request.labels().begin(), request.labels().end());
  };
  if (!request.has_update_mask()) {
    if (request.labels_size() > 0) set_labels();
    if (!request.description().empty()) {
      update.description = request.description();
    }
    if (!request.card().empty()) update.card = request.card();
    return update;
  }
  for (const std::string& path : request.update_mask().paths()) {
    if (path == "labels") {
      set_labels();
    } else if (path == "description") {
      update.description = request.description();
    } else if (path == "card") {
      update.card = request.card();
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("update_mask names \"", path.substr(0, 64),
                       "\"; expected labels, description or card"));
    }
  }
  return update;
}

absl::Status Update(const v1::UpdateAdapterRequest& request,
                    AdapterStore* store, v1::Adapter* response) {
  ASSIGN_OR_RETURN(const AdapterRef ref, AdapterRef::Parse(request.adapter()));
  ASSIGN_OR_RETURN(const AdapterUpdate update, ToUpdate(request));
  ASSIGN_OR_RETURN(const AdapterRecord record, store->Update(ref, update));
  *response = ToWire(record);
  return absl::OkStatus();
}

absl::Status SetAliasOf(const v1::SetAliasRequest& request, AdapterStore* store,
                        v1::Adapter* response) {
  ASSIGN_OR_RETURN(
      const AdapterRecord record,
      store->SetAlias(request.name(), request.alias(), request.version()));
  *response = ToWire(record);
  return absl::OkStatus();
}

absl::Status Delete(const v1::DeleteAdapterRequest& request,
                    AdapterStore* store, v1::DeleteAdapterResponse* response) {
  ASSIGN_OR_RETURN(const AdapterRef ref, AdapterRef::Parse(request.adapter()));
  if (request.purge()) {
    return store->Purge(ref);
  }
  RETURN_IF_ERROR(store->Delete(ref));
  if (ref.version != 0) {
    // Not found if the store keeps nothing that was deleted.
    if (const absl::StatusOr<AdapterRecord> record = store->GetDeleted(ref);
        record.ok() && record->purge_time.has_value()) {
      *response->mutable_purge_time() = ToWire(*record->purge_time);
    }
  }
  return absl::OkStatus();
}

absl::Status Undelete(const std::string& name, AdapterStore* store,
                      v1::Adapter* response) {
  ASSIGN_OR_RETURN(const AdapterRef ref, AdapterRef::Parse(name));
  ASSIGN_OR_RETURN(const AdapterRecord record, store->Undelete(ref));
  *response = ToWire(record);
  return absl::OkStatus();
}

}  // namespace

template <typename Work>
grpc::ServerUnaryReactor* RegistryService::Run(
    grpc::CallbackServerContext* context, const char* method, Work work) {
  return RunUnary(
      context, pool_, metrics_, method, [this, work = std::move(work)] {
        const Serving* serving = serving_->load();
        return serving == nullptr ? ModelIsLoading() : work(*serving);
      });
}

grpc::ServerReadReactor<v1::RegisterAdapterRequest>*
RegistryService::RegisterAdapter(grpc::CallbackServerContext* context,
                                 v1::RegisterAdapterResponse* response) {
  const Serving* serving = serving_->load();
  if (serving == nullptr) {
    metrics_->CountRequest("RegisterAdapter", absl::StatusCode::kUnavailable);
    return new EndedReadReactor(ToGrpcStatus(ModelIsLoading()));
  }
  return new UploadReactor(context, *serving, pool_, idle_, response);
}

grpc::ServerWriteReactor<v1::DownloadAdapterResponse>*
RegistryService::DownloadAdapter(grpc::CallbackServerContext* context,
                                 const v1::DownloadAdapterRequest* request) {
  const Serving* serving = serving_->load();
  if (serving == nullptr) {
    metrics_->CountRequest("DownloadAdapter", absl::StatusCode::kUnavailable);
    return new EndedWriteReactor<v1::DownloadAdapterResponse>(
        ToGrpcStatus(ModelIsLoading()));
  }
  return new DownloadReactor(context, "DownloadAdapter", metrics_, pool_, idle_,
                             [serving, adapter = request->adapter()] {
                               return OpenStoredAdapter(*serving, adapter);
                             });
}

grpc::ServerUnaryReactor* RegistryService::GetUpload(
    grpc::CallbackServerContext* context, const v1::GetUploadRequest* request,
    v1::GetUploadResponse* response) {
  return Run(context, "GetUpload", [=](const Serving& serving) {
    return FindUpload(request->upload_id(), serving.parked, response);
  });
}

grpc::ServerUnaryReactor* RegistryService::GetAdapter(
    grpc::CallbackServerContext* context, const v1::GetAdapterRequest* request,
    v1::Adapter* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const std::function<void(const absl::Status&)> end =
      [reactor, metrics = metrics_](const absl::Status& status) {
        metrics->CountRequest("GetAdapter", status.code());
        reactor->Finish(ToGrpcStatus(status));
      };
  // Not by Run(): waiting for an inspection must hold no worker.
  const bool queued = pool_->Run([this, request, response, end] {
    const Serving* serving = serving_->load();
    if (serving == nullptr) {
      end(ModelIsLoading());
      return;
    }
    GetWithInspection(*serving, request->adapter(), response, end);
  });
  if (!queued) {
    end(absl::ResourceExhaustedError("too many calls wait; retry later"));
  }
  return reactor;
}

grpc::ServerUnaryReactor* RegistryService::ListAdapters(
    grpc::CallbackServerContext* context,
    const v1::ListAdaptersRequest* request,
    v1::ListAdaptersResponse* response) {
  return Run(context, "ListAdapters", [=](const Serving& serving) {
    return List(*request, serving.store, response);
  });
}

grpc::ServerUnaryReactor* RegistryService::UpdateAdapter(
    grpc::CallbackServerContext* context,
    const v1::UpdateAdapterRequest* request, v1::Adapter* response) {
  return Run(context, "UpdateAdapter", [=](const Serving& serving) {
    return Update(*request, serving.store, response);
  });
}

grpc::ServerUnaryReactor* RegistryService::SetAlias(
    grpc::CallbackServerContext* context, const v1::SetAliasRequest* request,
    v1::Adapter* response) {
  return Run(context, "SetAlias", [=](const Serving& serving) {
    return SetAliasOf(*request, serving.store, response);
  });
}

grpc::ServerUnaryReactor* RegistryService::DeleteAlias(
    grpc::CallbackServerContext* context, const v1::DeleteAliasRequest* request,
    v1::DeleteAliasResponse* /*response*/) {
  return Run(context, "DeleteAlias", [=](const Serving& serving) {
    return serving.store->DeleteAlias(request->name(), request->alias());
  });
}

grpc::ServerUnaryReactor* RegistryService::DeleteAdapter(
    grpc::CallbackServerContext* context,
    const v1::DeleteAdapterRequest* request,
    v1::DeleteAdapterResponse* response) {
  return Run(context, "DeleteAdapter", [=](const Serving& serving) {
    return Delete(*request, serving.store, response);
  });
}

grpc::ServerUnaryReactor* RegistryService::UndeleteAdapter(
    grpc::CallbackServerContext* context,
    const v1::UndeleteAdapterRequest* request, v1::Adapter* response) {
  return Run(context, "UndeleteAdapter", [=](const Serving& serving) {
    return Undelete(request->adapter(), serving.store, response);
  });
}

grpc::ServerUnaryReactor* RegistryService::SaveRecipe(
    grpc::CallbackServerContext* context, const v1::SaveRecipeRequest* request,
    v1::SavedRecipe* response) {
  return Run(context, "SaveRecipe", [=](const Serving& serving) {
    return stockpot::SaveRecipe(*request, serving, response);
  });
}

grpc::ServerUnaryReactor* RegistryService::GetRecipe(
    grpc::CallbackServerContext* context, const v1::GetRecipeRequest* request,
    v1::SavedRecipe* response) {
  return Run(context, "GetRecipe", [=](const Serving& serving) {
    return stockpot::GetRecipe(*request, serving, response);
  });
}

grpc::ServerUnaryReactor* RegistryService::ListRecipes(
    grpc::CallbackServerContext* context, const v1::ListRecipesRequest* request,
    v1::ListRecipesResponse* response) {
  return Run(context, "ListRecipes", [=](const Serving& serving) {
    return stockpot::ListRecipes(*request, serving, response);
  });
}

grpc::ServerUnaryReactor* RegistryService::DeleteRecipe(
    grpc::CallbackServerContext* context,
    const v1::DeleteRecipeRequest* request,
    v1::DeleteRecipeResponse* /*response*/) {
  return Run(context, "DeleteRecipe", [=](const Serving& serving) {
    return stockpot::DeleteRecipe(*request, serving);
  });
}

grpc::ServerUnaryReactor* RegistryService::SetRecipeAlias(
    grpc::CallbackServerContext* context, const v1::SetAliasRequest* request,
    v1::SavedRecipe* response) {
  return Run(context, "SetRecipeAlias", [=](const Serving& serving) {
    return stockpot::SetRecipeAlias(*request, serving, response);
  });
}

grpc::ServerUnaryReactor* RegistryService::DeleteRecipeAlias(
    grpc::CallbackServerContext* context, const v1::DeleteAliasRequest* request,
    v1::DeleteAliasResponse* /*response*/) {
  return Run(context, "DeleteRecipeAlias", [=](const Serving& serving) {
    return serving.recipes->DeleteAlias(request->name(), request->alias());
  });
}

grpc::ServerWriteReactor<v1::DownloadAdapterResponse>*
RegistryService::ExportRecipe(grpc::CallbackServerContext* context,
                              const v1::ExportRecipeRequest* request) {
  const Serving* serving = serving_->load();
  if (serving == nullptr) {
    metrics_->CountRequest("ExportRecipe", absl::StatusCode::kUnavailable);
    return new EndedWriteReactor<v1::DownloadAdapterResponse>(
        ToGrpcStatus(ModelIsLoading()));
  }
  return new DownloadReactor(context, "ExportRecipe", metrics_, pool_, idle_,
                             [context, serving, request = *request] {
                               return OpenExportedRecipe(
                                   *serving, request,
                                   [=] { return context->IsCancelled(); });
                             });
}

}  // namespace stockpot
