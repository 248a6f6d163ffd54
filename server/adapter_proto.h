// What the registry knows of an adapter, as the wire says it.

#ifndef STOCKPOT_SERVER_ADAPTER_PROTO_H_
#define STOCKPOT_SERVER_ADAPTER_PROTO_H_

#include <vector>

#include "absl/time/time.h"
#include <google/protobuf/timestamp.pb.h>

#include "proto/stockpot/v1/registry.pb.h"

#include "merge/adapter_inspector.h"
#include "registry/adapter_store.h"

namespace stockpot {

// `training` too if the record has its adapter_config.
v1::Adapter ToWire(const AdapterRecord& record);

// Of modules by path.
v1::AdapterInspection ToWire(const std::vector<ModuleStatistics>& modules);

google::protobuf::Timestamp ToWire(absl::Time time);

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_ADAPTER_PROTO_H_
