// What the registry knows of an adapter, as the wire says it.

#ifndef STOCKPOT_SERVER_ADAPTER_PROTO_H_
#define STOCKPOT_SERVER_ADAPTER_PROTO_H_

#include "proto/stockpot/v1/registry.pb.h"

#include "registry/adapter_store.h"

namespace stockpot {

v1::Adapter ToWire(const AdapterRecord& record);

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_ADAPTER_PROTO_H_
