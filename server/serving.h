// What the services need once the model is loaded. Built by server/daemon.cc,
// immutable from then on; everything it points to is safe to use from many
// threads. No torch, so that the services are tested without it.

#ifndef STOCKPOT_SERVER_SERVING_H_
#define STOCKPOT_SERVER_SERVING_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/metrics.h"
#include "engine/engine.h"
#include "formats/adapter_layout.h"
#include "formats/tokenizer/tokenizer.h"
#include "merge/adapter_validator.h"
#include "merge/composer.h"
#include "merge/recipe_exporter.h"
#include "registry/adapter_store.h"
#include "registry/recipe_store.h"
#include "registry/rocks_store.h"
#include "server/inspection_queue.h"
#include "server/pinned_recipes.h"

namespace stockpot {

class ParkedUploads;
class SigningKeys;

struct ModelFacts {
  std::string name;          // As configured.
  std::string architecture;  // "LlamaForCausalLM"
  std::string dtype;         // "float32", "bfloat16"
  std::string device;        // "cpu", "cuda:0"
  Digest digest;
  int32_t vocab_size = 0;
  int32_t context_tokens = 0;
  int64_t kv_cache_tokens = 0;
  int32_t max_running_sequences = 0;
  std::vector<int32_t> eos_ids;
  std::vector<BaseModule> modules;
};

struct Serving {
  ModelFacts model;
  const Tokenizer* tokenizer = nullptr;
  AdapterStore* store = nullptr;
  RocksStore* registry = nullptr;   // The same store, with its upkeep.
  ParkedUploads* parked = nullptr;  // Uploads that broke off.
  // Whose signatures over an upload count; null: no key is known.
  const SigningKeys* signing_keys = nullptr;
  bool require_signature = false;  // Uploads without one are refused.
  RecipeStore* recipes = nullptr;
  Composer* composer = nullptr;
  RecipeExporter* exporter = nullptr;
  PinnedRecipes* pinned = nullptr;
  InspectionQueue* inspections = nullptr;
  // Of uploads whose conversion leaves something out; needs torch.
  ConversionMeasure measure;
  Engine* engine = nullptr;
  Metrics* metrics = nullptr;
};

// Null until the model is loaded; then set once.
using ServingSlot = std::atomic<const Serving*>;

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_SERVING_H_
