#include "client/method_text.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "base/status_macros.h"

namespace stockpot {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// "sign_election" as a flag.
std::string FlagOf(absl::string_view field) {
  return absl::StrCat("--", field == "seed"
                                ? "merge-seed"
                                : absl::StrReplaceAll(field, {{"_", "-"}}));
}

absl::Status BadValue(const FieldDescriptor& field, const std::string& value,
                      absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(
      FlagOf(field.name()), " '", value, "': expected ", expected));
}

// The values of an enumeration by their last words: "core" of SPACE_CORE.
absl::Status SetEnum(const FieldDescriptor& field, const std::string& value,
                     Message& message) {
  const std::string wanted = absl::StrCat("_", absl::AsciiStrToUpper(value));
  std::vector<std::string> words;
  // The first is the unspecified one, whose name begins as the others do.
  const std::string& unset = field.enum_type()->value(0)->name();
  const size_t prefix = unset.rfind('_');
  for (int i = 1; i < field.enum_type()->value_count(); ++i) {
    const EnumValueDescriptor* known = field.enum_type()->value(i);
    if (known->name().substr(prefix) == wanted) {
      message.GetReflection()->SetEnum(&message, &field, known);
      return absl::OkStatus();
    }
    words.push_back(absl::AsciiStrToLower(known->name().substr(prefix + 1)));
  }
  return BadValue(field, value, absl::StrJoin(words, " or "));
}

absl::Status SetField(const FieldDescriptor& field, const std::string& value,
                      Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_FLOAT: {
      float number = 0;
      if (!absl::SimpleAtof(value, &number)) {
        return BadValue(field, value, "a number");
      }
      reflection.SetFloat(&message, &field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      uint32_t number = 0;
      if (!absl::SimpleAtoi(value, &number)) {
        return BadValue(field, value, "a whole number");
      }
      reflection.SetUInt32(&message, &field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t number = 0;
      if (!absl::SimpleAtoi(value, &number)) {
        return BadValue(field, value, "a whole number");
      }
      reflection.SetUInt64(&message, &field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      reflection.SetBool(&message, &field, value == "true");
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_ENUM:
      return SetEnum(field, value, message);
    default:
      return absl::InternalError(
          absl::StrCat("method option ", field.name(), " has no text form"));
  }
}

std::string FlagsOf(const Descriptor& method) {
  std::vector<std::string> flags;
  for (int i = 0; i < method.field_count(); ++i) {
    flags.push_back(FlagOf(method.field(i)->name()));
  }
  return flags.empty() ? "no options" : absl::StrJoin(flags, ", ");
}

}  // namespace

absl::Status SetMethod(const MethodWords& words, v1::Recipe& recipe) {
  if (words.pico) {
    recipe.set_pico(true);
  }
  if (words.method.empty()) {
    return words.options.empty() ? absl::OkStatus()
                                 : absl::InvalidArgumentError(absl::StrCat(
                                       FlagOf(words.options[0].first),
                                       " needs a --method that takes it"));
  }
  const google::protobuf::OneofDescriptor& methods =
      *recipe.GetDescriptor()->FindOneofByName("method");
  const FieldDescriptor* method = nullptr;
  std::vector<std::string> names;
  for (int i = 0; i < methods.field_count(); ++i) {
    names.push_back(methods.field(i)->name());
    if (names.back() == words.method) {
      method = methods.field(i);
    }
  }
  if (method == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("--method '", words.method,
                                                   "': expected one of ",
                                                   absl::StrJoin(names, ", ")));
  }
  Message& message = *recipe.GetReflection()->MutableMessage(&recipe, method);
  for (const auto& [name, value] : words.options) {
    const FieldDescriptor* field =
        message.GetDescriptor()->FindFieldByName(name);
    if (field == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          FlagOf(name), " does not go with --method ", words.method,
          ", which takes ", FlagsOf(*message.GetDescriptor())));
    }
    RETURN_IF_ERROR(SetField(*field, value, message));
  }
  return absl::OkStatus();
}

}  // namespace stockpot
