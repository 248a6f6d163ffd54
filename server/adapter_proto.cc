#include "server/adapter_proto.h"

namespace stockpot {

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
  const int64_t micros = absl::ToUnixMicros(record.create_time);
  out.mutable_create_time()->set_seconds(micros / 1'000'000);
  out.mutable_create_time()->set_nanos(
      static_cast<int32_t>(micros % 1'000'000 * 1000));
  out.set_adapter_config(record.adapter_config);
  out.set_card(record.card);
  return out;
}

}  // namespace stockpot
