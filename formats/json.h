// Strict JSON for bytes that a stranger may send, and typed getters whose
// errors name the field.
//
// All functions are pure and safe to call from many threads. None throws.
// Getters are defined for nlohmann::json and nlohmann::ordered_json.

#ifndef STOCKPOT_FORMATS_JSON_H_
#define STOCKPOT_FORMATS_JSON_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace stockpot {

struct JsonLimits {
  size_t max_bytes = 1 << 20;
  // Arrays and objects open at once; the document `{}` has depth 1.
  int max_depth = 64;
  // False refuses a key that stands twice in one object; true keeps the last
  // value, as most readers do.
  bool allow_duplicate_keys = false;
};

// Parses one JSON document.
//
// Stricter than most readers, so that two readers cannot take one file for two
// different things: UTF-8 only and no byte-order mark, no key twice in one
// object at any level, no NaN or Infinity, no number beyond double, no comment,
// nothing but whitespace after the document.
// Errors: InvalidArgument, which names the byte or the key.
// Source: RFC 8259.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text,
                                         const JsonLimits& limits);

// As ParseJson; objects keep the order of the file. Lookups by key are linear,
// so this is for small documents whose order has a meaning.
absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(
    absl::string_view text, const JsonLimits& limits);

// The getters below read `object[key]`. `where` is the dotted path of `object`
// within its document and only serves the error message.
//
// A getter without a default fails when the key is absent or null; `Or` returns
// `fallback` then and `Optional` returns nullopt.
// Errors: InvalidArgument for an `object` that is not a JSON object, a missing
// key, another type, or a value outside [lo, hi].

// Integers only: 8 is accepted, 8.0, 8e0 and "8" are not.
template <typename Json>
absl::StatusOr<int64_t> GetInt(const Json& object, absl::string_view key,
                               int64_t lo, int64_t hi,
                               absl::string_view where = "");
template <typename Json>
absl::StatusOr<int64_t> GetIntOr(const Json& object, absl::string_view key,
                                 int64_t fallback, int64_t lo, int64_t hi,
                                 absl::string_view where = "");
template <typename Json>
absl::StatusOr<std::optional<int64_t>> GetOptionalInt(
    const Json& object, absl::string_view key, int64_t lo, int64_t hi,
    absl::string_view where = "");

// Any JSON number.
template <typename Json>
absl::StatusOr<double> GetDouble(const Json& object, absl::string_view key,
                                 double lo, double hi,
                                 absl::string_view where = "");
template <typename Json>
absl::StatusOr<double> GetDoubleOr(const Json& object, absl::string_view key,
                                   double fallback, double lo, double hi,
                                   absl::string_view where = "");
template <typename Json>
absl::StatusOr<std::optional<double>> GetOptionalDouble(
    const Json& object, absl::string_view key, double lo, double hi,
    absl::string_view where = "");

template <typename Json>
absl::StatusOr<bool> GetBool(const Json& object, absl::string_view key,
                             absl::string_view where = "");
template <typename Json>
absl::StatusOr<bool> GetBoolOr(const Json& object, absl::string_view key,
                               bool fallback, absl::string_view where = "");
template <typename Json>
absl::StatusOr<std::optional<bool>> GetOptionalBool(
    const Json& object, absl::string_view key, absl::string_view where = "");

template <typename Json>
absl::StatusOr<std::string> GetString(const Json& object, absl::string_view key,
                                      absl::string_view where = "");
template <typename Json>
absl::StatusOr<std::string> GetStringOr(const Json& object,
                                        absl::string_view key,
                                        absl::string_view fallback,
                                        absl::string_view where = "");
template <typename Json>
absl::StatusOr<std::optional<std::string>> GetOptionalString(
    const Json& object, absl::string_view key, absl::string_view where = "");

// Returns the value under `key`, or null when the key is absent, its value is
// JSON null, or `object` is not a JSON object. The pointer lives as long as
// `object`.
template <typename Json>
const Json* FindNonNull(const Json& object, absl::string_view key);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_JSON_H_
