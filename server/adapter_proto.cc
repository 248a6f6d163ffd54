#include "server/adapter_proto.h"

#include "formats/training_facts.h"

namespace stockpot {

google::protobuf::Timestamp ToWire(absl::Time time) {
  const int64_t micros = absl::ToUnixMicros(time);
  google::protobuf::Timestamp out;
  out.set_seconds(micros / 1'000'000);
  out.set_nanos(static_cast<int32_t>(micros % 1'000'000 * 1000));
  return out;
}

v1::AdapterInspection ToWire(const std::vector<ModuleStatistics>& modules) {
  v1::AdapterInspection out;
  for (const ModuleStatistics& module : modules) {
    const UpdateStatistics& update = module.update;
    v1::ModuleInspection* wire = out.add_modules();
    wire->set_module(module.module);
    wire->set_rank(static_cast<uint32_t>(update.rank));
    wire->set_frobenius_norm(update.frobenius_norm);
    wire->set_spectral_norm(update.spectral_norm);
    wire->set_stable_rank(update.stable_rank);
    wire->set_effective_rank(update.effective_rank);
    wire->set_k90(static_cast<uint32_t>(update.k90));
    wire->set_dead_ranks(static_cast<uint32_t>(update.dead_ranks));
    wire->set_zero(update.b_is_zero);
    out.set_num_zero_modules(out.num_zero_modules() +
                             (update.b_is_zero ? 1 : 0));
    out.set_num_dead_ranks(out.num_dead_ranks() + wire->dead_ranks());
  }
  return out;
}

v1::Adapter ToWire(const AdapterRecord& record) {
  v1::Adapter out;
  out.set_name(record.name);
  out.set_version(record.version);
  out.set_digest(record.digest.ToHex());
  out.mutable_aliases()->Add(record.aliases.begin(), record.aliases.end());
  out.mutable_labels()->insert(record.labels.begin(), record.labels.end());
  out.set_description(record.description);
  out.set_size_bytes(record.size_bytes);
  out.set_num_parameters(record.facts.num_parameters);
  out.set_peft_type(record.facts.peft_type);
  out.set_min_rank(record.facts.min_rank);
  out.set_max_rank(record.facts.max_rank);
  out.set_kept_energy(record.facts.kept_energy);
  out.mutable_target_modules()->Add(record.facts.target_modules.begin(),
                                    record.facts.target_modules.end());
  out.set_base_model(record.facts.base_model);
  *out.mutable_create_time() = ToWire(record.create_time);
  if (record.delete_time.has_value() && record.purge_time.has_value()) {
    *out.mutable_delete_time() = ToWire(*record.delete_time);
    *out.mutable_purge_time() = ToWire(*record.purge_time);
  }
  out.set_adapter_config(record.adapter_config);
  out.set_card(record.card);
  out.set_license(record.license);
  out.set_signer(record.signer);
  const auto training = TrainingFacts(record.adapter_config);
  out.mutable_training()->insert(training.begin(), training.end());
  return out;
}

}  // namespace stockpot
