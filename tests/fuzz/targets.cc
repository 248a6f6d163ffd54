#include "tests/fuzz/targets.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "base/digest.h"
#include "base/glob.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/adapter_config.h"
#include "formats/adapter_layout.h"
#include "formats/json.h"
#include "formats/model_config.h"
#include "formats/regex.h"
#include "formats/safetensors.h"
#include "formats/signature_bundle.h"
#include "formats/tokenizer/hf_tokenizer.h"
#include "merge/adapter_validator.h"
#include "registry/key_codec.h"
#include "registry/record_codec.h"
#include "tests/fuzz/oracles.h"
#include "tests/fuzz/signature_oracle.h"

namespace stockpot::testing {
namespace {

void Require(bool holds, absl::string_view promise) {
  if (!holds) {
    std::fprintf(stderr, "broken: %.*s\n", static_cast<int>(promise.size()),
                 promise.data());
    std::abort();
  }
}

// A refusal must be of one of the codes that the parsers promise, in words.
void RequireRefusal(const absl::Status& status) {
  Require(absl::IsInvalidArgument(status) || absl::IsUnimplemented(status),
          absl::StrCat("refused as ", status.ToString()));
  Require(!status.message().empty(), "a refusal says why");
  Require(status.message().size() < 20'000, "a refusal is bounded");
}

// Splits at the first NUL.
std::pair<absl::string_view, absl::string_view> Split(absl::string_view input) {
  const size_t nul = input.find('\0');
  return nul == absl::string_view::npos
             ? std::make_pair(input, absl::string_view())
             : std::make_pair(input.substr(0, nul), input.substr(nul + 1));
}

// The layers that the corpus's adapters are made for.
const std::vector<BaseModule>& Base() {
  static const auto* const base = new std::vector<BaseModule>{
      {"model.layers.0.self_attn.q_proj", 4, 6, false},
      {"model.layers.0.self_attn.v_proj", 4, 2, false},
      {"model.layers.1.self_attn.q_proj", 4, 6, false},
      {.path = "model.embed_tokens",
       .in = 8,
       .out = 4,
       .is_embedding = true,
       .is_tied = true},
      {.path = "lm_head",
       .in = 4,
       .out = 8,
       .is_output_head = true,
       .is_tied = true}};
  return *base;
}

}  // namespace

void FuzzSafetensors(absl::string_view input) {
  const SafetensorsInput file = SafetensorsFromInput(input);
  for (const SafetensorsLimits& limits : {AdapterLimits(), ModelLimits()}) {
    const absl::StatusOr<SafetensorsHeader> header =
        ParseSafetensorsHeader(file.head, file.file_bytes, limits);
    if (!header.ok()) {
      RequireRefusal(header.status());
      continue;
    }
    Require(static_cast<int64_t>(header->tensors.size()) <= limits.max_tensors,
            "number of tensors");
    const std::string wrong = WrongInHeader(*header, file);
    Require(wrong.empty(), wrong);
  }
}

void FuzzAdapterConfig(absl::string_view input) {
  const absl::StatusOr<AdapterConfig> config = AdapterConfig::Parse(input);
  if (!config.ok()) {
    RequireRefusal(config.status());
    return;
  }
  for (const BaseModule& module : Base()) {
    const absl::StatusOr<bool> targets =
        config->Targets(module.path, module.is_end());
    const absl::StatusOr<int64_t> rank = config->Rank(module.path);
    if (!targets.ok() || !rank.ok()) {
      RequireRefusal(targets.ok() ? rank.status() : targets.status());
      continue;
    }
    Require(*rank >= 1 && *rank <= AdapterConfig::kMaxRank, "rank in bounds");
    const absl::StatusOr<double> scaling = config->Scaling(module.path, *rank);
    if (scaling.ok()) {
      Require(std::abs(*scaling) <= AdapterConfig::kMaxScaling,
              "scaling is finite and in bounds");
    } else {
      RequireRefusal(scaling.status());
    }
  }
}

void FuzzAdapterLayout(absl::string_view input) {
  const auto [text, rest] = Split(input);
  const absl::StatusOr<AdapterConfig> config = AdapterConfig::Parse(text);
  const SafetensorsInput file = SafetensorsFromInput(rest);
  const absl::StatusOr<SafetensorsHeader> header =
      ParseSafetensorsHeader(file.head, file.file_bytes, AdapterLimits());
  if (!config.ok() || !header.ok()) {
    return;
  }
  const absl::StatusOr<AdapterLayout> layout =
      MatchAdapter(*header, *config, Base());
  if (!layout.ok()) {
    RequireRefusal(layout.status());
    return;
  }
  const std::string wrong = WrongInLayout(*layout, *header, Base());
  Require(wrong.empty(), wrong);
}

void FuzzTokenizer(absl::string_view input) {
  const auto [text, sample] = Split(input);
  const absl::StatusOr<nlohmann::json> json = ParseJson(text, {});
  if (!json.ok()) {
    RequireRefusal(json.status());
    return;
  }
  const absl::StatusOr<std::unique_ptr<HfTokenizer>> tokenizer =
      HfTokenizer::FromJson(*json, {});
  if (!tokenizer.ok()) {
    RequireRefusal(tokenizer.status());
    return;
  }
  const absl::StatusOr<std::vector<int32_t>> ids =
      (*tokenizer)->Encode(sample.substr(0, 4096), {});
  if (!ids.ok()) {
    RequireRefusal(ids.status());
    return;
  }
  for (const int32_t id : *ids) {
    Require(id >= 0 && id < (*tokenizer)->vocab_size(), "ids are in range");
  }
  if (const absl::StatusOr<std::string> decoded =
          (*tokenizer)->Decode(*ids, false);
      !decoded.ok()) {
    RequireRefusal(decoded.status());
  }
}

void FuzzModelConfig(absl::string_view input) {
  const auto [config, generation] = Split(input);
  const absl::StatusOr<ModelConfig> parsed =
      ModelConfig::Parse(config, generation);
  if (!parsed.ok()) {
    RequireRefusal(parsed.status());
  }
}

void FuzzRecord(absl::string_view input) {
  if (input.empty()) {
    return;
  }
  const absl::string_view bytes = input.substr(1);
  absl::Status status;
  if (input[0] % 2 == 0) {
    const absl::StatusOr<storage::v1::AdapterManifest> manifest =
        ParseManifest(bytes);
    status = manifest.ok() ? RecordOf(*manifest).status() : manifest.status();
  } else {
    const absl::StatusOr<storage::v1::BlobHeader> header =
        ParseBlobHeader(bytes);
    status = header.status();
    Require(!header.ok() || header->num_chunks() > 0, "a blob has chunks");
  }
  Require(status.ok() || absl::IsDataLoss(status), "damage is DATA_LOSS");
}

void FuzzKey(absl::string_view input) {
  if (const std::optional<NameVersion> key = ParseManifestKey(input)) {
    Require(ManifestKey(*key) == input, "manifest key");
  }
  if (const std::optional<Digest> digest = ParseBlobKey(input)) {
    Require(BlobKey(*digest) == input, "blob key");
  }
  if (const std::optional<Digest> digest = ParseDamageMarkKey(input)) {
    Require(DamageMarkKey(*digest) == input, "damage mark key");
  }
  if (const std::optional<ChunkId> chunk = ParseChunkSizeKey(input)) {
    Require(ChunkSizeKey(*chunk) == input, "chunk size key");
  }
  if (const std::optional<NameVersion> key = ParseReferenceKey(input)) {
    Require(absl::EndsWith(input, ManifestKey(*key).substr(2)),
            "reference key");
  }
  if (const std::optional<std::string> alias = ParseAliasKey(input)) {
    Require(absl::EndsWith(input, *alias), "alias key");
  }
  if (const std::optional<uint32_t> size = ParseSize(input)) {
    Require(EncodeSize(*size) == input, "size");
  }
}

namespace {

// What RegisterAdapter does with a stream: the upload counts and hashes, the
// validator looks. Returns the facts.
absl::StatusOr<AdapterFacts> Upload(absl::string_view config,
                                    absl::string_view bytes, uint64_t declared,
                                    absl::string_view piece_sizes) {
  ASSIGN_OR_RETURN(const std::unique_ptr<AdapterValidator> validator,
                   AdapterValidator::Create(config, declared, Base()));
  size_t next = 0;
  uint64_t received = 0;
  while (!bytes.empty()) {
    const size_t size =
        piece_sizes.empty()
            ? bytes.size()
            : static_cast<uint8_t>(piece_sizes[next++ % piece_sizes.size()]);
    const absl::string_view piece = bytes.substr(0, size);
    bytes.remove_prefix(piece.size());
    received += piece.size();
    if (received > declared) {
      return absl::InvalidArgumentError("more bytes than declared");
    }
    RETURN_IF_ERROR(validator->Feed(piece));
    if (size == 0 && next > 2 * piece_sizes.size()) {
      piece_sizes = "";  // Nothing but empty pieces.
    }
  }
  return validator->Finish(Sha256::Of("base"));
}

}  // namespace

void FuzzUpload(absl::string_view input) {
  const auto [config, rest] = Split(input);
  const auto [piece_sizes, text] = Split(rest);
  const SafetensorsInput file = SafetensorsFromInput(text);
  std::string bytes = file.head;
  if (file.file_bytes > bytes.size() && file.file_bytes < 100'000) {
    bytes.resize(file.file_bytes);
  }
  const absl::StatusOr<AdapterFacts> whole =
      Upload(config, bytes, file.file_bytes, "");
  const absl::StatusOr<AdapterFacts> pieces =
      Upload(config, bytes, file.file_bytes, piece_sizes);
  Require(whole.ok() == pieces.ok(),
          absl::StrCat(
              "the verdict depends on the pieces: ", whole.status().ToString(),
              " or ", pieces.status().ToString()));
  if (!whole.ok()) {
    RequireRefusal(whole.status());
    RequireRefusal(pieces.status());
    return;
  }
  const absl::StatusOr<SafetensorsHeader> header =
      ParseSafetensorsHeader(bytes, bytes.size(), AdapterLimits());
  Require(header.ok(), "accepted, but not by the parser");
  const std::string wrong = WrongInHeader(*header, {bytes, bytes.size()});
  Require(wrong.empty(), wrong);
  Require(whole->num_parameters == pieces->num_parameters, "same facts");
}

void FuzzSignature(absl::string_view input) {
  const std::string text = BundleFromInput(input);
  const absl::StatusOr<SignatureBundle> bundle = SignatureBundle::Parse(text);
  if (bundle.ok()) {
    const std::string wrong = WrongInBundle(*bundle, text);
    Require(wrong.empty(), wrong);
  } else {
    RequireRefusal(bundle.status());
  }
  const std::string payload =
      bundle.ok() ? bundle->payload : std::string(Split(input).first);
  const absl::StatusOr<std::map<std::string, Digest>> files =
      ParseSignedFiles(payload);
  if (files.ok()) {
    const std::string wrong = WrongInSignedFiles(*files, payload);
    Require(wrong.empty(), wrong);
  } else {
    RequireRefusal(files.status());
  }
}

void FuzzGlob(absl::string_view input) {
  const auto [pattern, path] = Split(input);
  const absl::StatusOr<Glob> glob = Glob::Parse(pattern);
  if (!glob.ok()) {
    RequireRefusal(glob.status());
    return;
  }
  Require(glob->expanded_bytes() <= Glob::kMaxAlternatives * Glob::kMaxBytes,
          "what a pattern costs is bounded");
  const bool matches = glob->Matches(path);
  // The oracle takes exponential time.
  if (std::count(pattern.begin(), pattern.end(), '*') <= 6 &&
      pattern.size() <= 40 && path.size() <= 40) {
    Require(matches == GlobMatches(pattern, path), "the glob's verdict");
  }
}

void FuzzRegex(absl::string_view input) {
  const auto [pattern, subject] = Split(input);
  const absl::StatusOr<Regex> regex = Regex::Compile(pattern, 10'000);
  if (!regex.ok()) {
    RequireRefusal(regex.status());
    return;
  }
  const absl::StatusOr<bool> full = regex->FullMatch(subject);
  const absl::StatusOr<bool> prefix = regex->PrefixMatch(subject);
  if (!full.ok() || !prefix.ok()) {
    RequireRefusal(full.ok() ? prefix.status() : full.status());
    return;
  }
  Require(!*full || *prefix, "a full match is a prefix match");
}

}  // namespace stockpot::testing
