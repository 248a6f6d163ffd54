#include "formats/json.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

// Receives the parser's events and builds the document, refusing what
// JsonLimits refuses. Returning false from an event stops the parser.
template <typename Json>
class DocumentBuilder {
 public:
  using number_integer_t = typename Json::number_integer_t;
  using number_unsigned_t = typename Json::number_unsigned_t;
  using number_float_t = typename Json::number_float_t;
  using string_t = typename Json::string_t;
  using binary_t = typename Json::binary_t;

  explicit DocumentBuilder(const JsonLimits& limits) : limits_(limits) {}

  bool null() { return Add(Json(nullptr)) != nullptr; }
  bool boolean(bool value) { return Add(Json(value)) != nullptr; }
  bool number_integer(number_integer_t value) {
    return Add(Json(value)) != nullptr;
  }
  bool number_unsigned(number_unsigned_t value) {
    return Add(Json(value)) != nullptr;
  }
  bool number_float(number_float_t value, const string_t& /*text*/) {
    return Add(Json(value)) != nullptr;
  }
  bool string(string_t& value) {
    return Add(Json(std::move(value))) != nullptr;
  }
  bool binary(binary_t& /*value*/) { return false; }

  bool start_object(size_t /*unknown*/) { return Open(Json::object()); }
  bool start_array(size_t /*unknown*/) { return Open(Json::array()); }
  bool end_object() { return Close(); }
  bool end_array() { return Close(); }

  bool key(string_t& name) {
    if (!open_.back().keys.insert(name).second) {
      if (!limits_.allow_duplicate_keys) {
        return Fail(absl::StrCat("the key ", Quoted(name),
                                 " stands twice in one object"));
      }
      open_.back().is_repeated_key = true;
    } else {
      open_.back().is_repeated_key = false;
    }
    open_.back().key = std::move(name);
    return true;
  }

  bool parse_error(size_t position, const std::string& last_token,
                   const nlohmann::detail::exception& /*error*/) {
    return Fail(absl::StrCat("not JSON (RFC 8259) at byte ", position,
                             ", near ", Quoted(last_token, 32)));
  }

  absl::Status status() const {
    return message_.empty() ? absl::OkStatus()
                            : absl::InvalidArgumentError(message_);
  }
  Json Take() { return std::move(root_); }

 private:
  struct OpenContainer {
    Json* container;
    // Of an object: what was seen, and the key whose value comes next.
    absl::flat_hash_set<std::string> keys;
    std::string key;
    bool is_repeated_key = false;
  };

  bool Fail(std::string message) {
    if (message_.empty()) {
      message_ = std::move(message);
    }
    return false;
  }

  // Puts `value` where the document continues and returns its place.
  Json* Add(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    OpenContainer& top = open_.back();
    if (top.container->is_array()) {
      top.container->push_back(std::move(value));
      return &top.container->back();
    }
    using Object = typename Json::object_t;
    Object& object = *top.container->template get_ptr<Object*>();
    if constexpr (std::is_same_v<Json, nlohmann::ordered_json>) {
      // The ordered object's own emplace searches all keys each time.
      if (!top.is_repeated_key) {
        auto& entries = static_cast<typename Object::Container&>(object);
        entries.emplace_back(std::move(top.key), std::move(value));
        return &entries.back().second;
      }
    }
    Json& place = object[std::move(top.key)];
    place = std::move(value);
    return &place;
  }

  bool Open(Json container) {
    if (static_cast<int>(open_.size()) >= limits_.max_depth) {
      return Fail(absl::StrCat("arrays and objects are nested deeper than ",
                               limits_.max_depth));
    }
    Json* place = Add(std::move(container));
    open_.push_back({place, {}, {}, false});
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  const JsonLimits& limits_;
  Json root_;
  std::vector<OpenContainer> open_;
  std::string message_;
};

template <typename Json>
absl::StatusOr<Json> Parse(absl::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the JSON document has ", text.size(), " bytes; at most ",
                     limits.max_bytes, " are allowed"));
  }
  // The library takes a zero byte for the end of the input and skips a
  // byte-order mark.
  if (size_t at = text.find('\0'); at != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("not JSON (RFC 8259): a zero byte at byte ", at));
  }
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    return absl::InvalidArgumentError(
        "the JSON document starts with a byte-order mark; save it as UTF-8 "
        "without one");
  }
  DocumentBuilder<Json> builder(limits);
  const bool parsed = Json::sax_parse(text.begin(), text.end(), &builder,
                                      Json::input_format_t::json,
                                      /*strict=*/true,
                                      /*ignore_comments=*/false);
  RETURN_IF_ERROR(builder.status());
  if (!parsed) {
    return absl::InvalidArgumentError("not JSON (RFC 8259)");
  }
  return builder.Take();
}

std::string Path(absl::string_view where, absl::string_view key) {
  return where.empty() ? absl::StrCat("field \"", key, "\"")
                       : absl::StrCat("field \"", where, ".", key, "\"");
}

template <typename Json>
absl::Status WrongType(const Json& value, absl::string_view key,
                       absl::string_view where, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(
      Path(where, key), " must be ", expected, ", got ", value.type_name()));
}

template <typename Json>
absl::Status CheckIsObject(const Json& object, absl::string_view where) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where.empty() ? "the document" : Quoted(where),
                     " must be a JSON object, got ", object.type_name()));
  }
  return absl::OkStatus();
}

template <typename T>
absl::StatusOr<T> Required(absl::StatusOr<std::optional<T>> value,
                           absl::string_view key, absl::string_view where) {
  if (!value.ok()) {
    return value.status();
  }
  if (!value->has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Path(where, key), " is missing"));
  }
  return **std::move(value);
}

template <typename T>
absl::StatusOr<T> Or(absl::StatusOr<std::optional<T>> value, T fallback) {
  if (!value.ok()) {
    return value.status();
  }
  return std::move(*value).value_or(std::move(fallback));
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text,
                                         const JsonLimits& limits) {
  return Parse<nlohmann::json>(text, limits);
}

absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(
    absl::string_view text, const JsonLimits& limits) {
  return Parse<nlohmann::ordered_json>(text, limits);
}

template <typename Json>
const Json* FindNonNull(const Json& object, absl::string_view key) {
  if (!object.is_object()) {
    return nullptr;
  }
  auto it = object.find(std::string(key));
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

template <typename Json>
absl::StatusOr<std::optional<int64_t>> GetOptionalInt(const Json& object,
                                                      absl::string_view key,
                                                      int64_t lo, int64_t hi,
                                                      absl::string_view where) {
  RETURN_IF_ERROR(CheckIsObject(object, where));
  const Json* value = FindNonNull(object, key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_number_integer()) {
    return WrongType(*value, key, where, "an integer");
  }
  const bool is_huge =
      value->is_number_unsigned() &&
      value->template get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  const int64_t number = is_huge ? 0 : value->template get<int64_t>();
  if (is_huge || number < lo || number > hi) {
    return absl::InvalidArgumentError(
        absl::StrCat(Path(where, key), " must be in [", lo, ", ", hi, "], got ",
                     value->dump()));
  }
  return number;
}

template <typename Json>
absl::StatusOr<std::optional<double>> GetOptionalDouble(
    const Json& object, absl::string_view key, double lo, double hi,
    absl::string_view where) {
  RETURN_IF_ERROR(CheckIsObject(object, where));
  const Json* value = FindNonNull(object, key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_number()) {
    return WrongType(*value, key, where, "a number");
  }
  const double number = value->template get<double>();
  if (!(number >= lo && number <= hi)) {
    return absl::InvalidArgumentError(
        absl::StrCat(Path(where, key), " must be in [", lo, ", ", hi, "], got ",
                     value->dump()));
  }
  return number;
}

template <typename Json>
absl::StatusOr<std::optional<bool>> GetOptionalBool(const Json& object,
                                                    absl::string_view key,
                                                    absl::string_view where) {
  RETURN_IF_ERROR(CheckIsObject(object, where));
  const Json* value = FindNonNull(object, key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_boolean()) {
    return WrongType(*value, key, where, "true or false");
  }
  return value->template get<bool>();
}

template <typename Json>
absl::StatusOr<std::optional<std::string>> GetOptionalString(
    const Json& object, absl::string_view key, absl::string_view where) {
  RETURN_IF_ERROR(CheckIsObject(object, where));
  const Json* value = FindNonNull(object, key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_string()) {
    return WrongType(*value, key, where, "a string");
  }
  return value->template get<std::string>();
}

template <typename Json>
absl::StatusOr<int64_t> GetInt(const Json& object, absl::string_view key,
                               int64_t lo, int64_t hi,
                               absl::string_view where) {
  return Required(GetOptionalInt(object, key, lo, hi, where), key, where);
}

template <typename Json>
absl::StatusOr<int64_t> GetIntOr(const Json& object, absl::string_view key,
                                 int64_t fallback, int64_t lo, int64_t hi,
                                 absl::string_view where) {
  return Or(GetOptionalInt(object, key, lo, hi, where), fallback);
}

template <typename Json>
absl::StatusOr<double> GetDouble(const Json& object, absl::string_view key,
                                 double lo, double hi,
                                 absl::string_view where) {
  return Required(GetOptionalDouble(object, key, lo, hi, where), key, where);
}

template <typename Json>
absl::StatusOr<double> GetDoubleOr(const Json& object, absl::string_view key,
                                   double fallback, double lo, double hi,
                                   absl::string_view where) {
  return Or(GetOptionalDouble(object, key, lo, hi, where), fallback);
}

template <typename Json>
absl::StatusOr<bool> GetBool(const Json& object, absl::string_view key,
                             absl::string_view where) {
  return Required(GetOptionalBool(object, key, where), key, where);
}

template <typename Json>
absl::StatusOr<bool> GetBoolOr(const Json& object, absl::string_view key,
                               bool fallback, absl::string_view where) {
  return Or(GetOptionalBool(object, key, where), fallback);
}

template <typename Json>
absl::StatusOr<std::string> GetString(const Json& object, absl::string_view key,
                                      absl::string_view where) {
  return Required(GetOptionalString(object, key, where), key, where);
}

template <typename Json>
absl::StatusOr<std::string> GetStringOr(const Json& object,
                                        absl::string_view key,
                                        absl::string_view fallback,
                                        absl::string_view where) {
  return Or(GetOptionalString(object, key, where), std::string(fallback));
}

#define STOCKPOT_DEFINE_GETTERS_(J)                                            \
  template const J* FindNonNull(const J&, absl::string_view);                  \
  template absl::StatusOr<int64_t> GetInt(                                     \
      const J&, absl::string_view, int64_t, int64_t, absl::string_view);       \
  template absl::StatusOr<int64_t> GetIntOr(const J&, absl::string_view,       \
                                            int64_t, int64_t, int64_t,         \
                                            absl::string_view);                \
  template absl::StatusOr<std::optional<int64_t>> GetOptionalInt(              \
      const J&, absl::string_view, int64_t, int64_t, absl::string_view);       \
  template absl::StatusOr<double> GetDouble(                                   \
      const J&, absl::string_view, double, double, absl::string_view);         \
  template absl::StatusOr<double> GetDoubleOr(                                 \
      const J&, absl::string_view, double, double, double, absl::string_view); \
  template absl::StatusOr<std::optional<double>> GetOptionalDouble(            \
      const J&, absl::string_view, double, double, absl::string_view);         \
  template absl::StatusOr<bool> GetBool(const J&, absl::string_view,           \
                                        absl::string_view);                    \
  template absl::StatusOr<bool> GetBoolOr(const J&, absl::string_view, bool,   \
                                          absl::string_view);                  \
  template absl::StatusOr<std::optional<bool>> GetOptionalBool(                \
      const J&, absl::string_view, absl::string_view);                         \
  template absl::StatusOr<std::string> GetString(const J&, absl::string_view,  \
                                                 absl::string_view);           \
  template absl::StatusOr<std::string> GetStringOr(                            \
      const J&, absl::string_view, absl::string_view, absl::string_view);      \
  template absl::StatusOr<std::optional<std::string>> GetOptionalString(       \
      const J&, absl::string_view, absl::string_view)

STOCKPOT_DEFINE_GETTERS_(nlohmann::json);
STOCKPOT_DEFINE_GETTERS_(nlohmann::ordered_json);

#undef STOCKPOT_DEFINE_GETTERS_

}  // namespace stockpot
