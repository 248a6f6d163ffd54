#include "client/json_text.h"

#include <charconv>
#include <string>
#include <utility>

#include "absl/time/time.h"

namespace stockpot {
namespace {

// The double with the float's shortest decimal form: 0.8, not
// 0.800000011920929.
double AsWritten(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  double out = value;
  std::from_chars(text, end, out);
  return out;
}

}  // namespace

std::string ToLine(const Json& json) {
  return json.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false,
                   Json::error_handler_t::replace);
}

Json ToJson(const v1::AdapterInspection& inspection) {
  Json modules = Json::array();
  for (const v1::ModuleInspection& module : inspection.modules()) {
    modules.push_back({{"module", module.module()},
                       {"rank", module.rank()},
                       {"frobenius_norm", module.frobenius_norm()},
                       {"spectral_norm", module.spectral_norm()},
                       {"stable_rank", module.stable_rank()},
                       {"effective_rank", module.effective_rank()},
                       {"k90", module.k90()},
                       {"dead_ranks", module.dead_ranks()},
                       {"zero", module.zero()}});
  }
  return {{"num_zero_modules", inspection.num_zero_modules()},
          {"num_dead_ranks", inspection.num_dead_ranks()},
          {"modules", std::move(modules)}};
}

Json ToJson(const v1::Adapter& adapter, bool with_text) {
  Json json = {
      {"name", adapter.name()},
      {"version", adapter.version()},
      {"digest", adapter.digest()},
      {"aliases", Json::array()},
      {"labels", Json::object()},
      {"size_bytes", adapter.size_bytes()},
      {"num_parameters", adapter.num_parameters()},
      {"peft_type", adapter.peft_type()},
      {"min_rank", adapter.min_rank()},
      {"max_rank", adapter.max_rank()},
      {"kept_energy", adapter.kept_energy()},
      {"target_modules", Json::array()},
      {"base_model", adapter.base_model()},
      {"create_time", TimeText(adapter.create_time())},
      {"license", adapter.license()},
      {"signer", adapter.signer()},
  };
  for (const std::string& alias : adapter.aliases()) {
    json["aliases"].push_back(alias);
  }
  for (const auto& [key, value] : adapter.labels()) {
    json["labels"][key] = value;
  }
  for (const std::string& module : adapter.target_modules()) {
    json["target_modules"].push_back(module);
  }
  if (adapter.has_purge_time()) {
    json["delete_time"] = TimeText(adapter.delete_time());
    json["purge_time"] = TimeText(adapter.purge_time());
  }
  if (with_text) {
    json["training"] = Json::object();
    for (const auto& [key, value] : adapter.training()) {
      json["training"][key] = value;
    }
    json["description"] = adapter.description();
    json["card"] = adapter.card();
    json["adapter_config"] = adapter.adapter_config();
    if (adapter.has_inspection()) {
      json["inspection"] = ToJson(adapter.inspection());
    }
  }
  return json;
}

Json ToJson(const v1::RegistryStatus& registry) {
  return {{"num_adapters", registry.num_adapters()},
          {"num_recipes", registry.num_recipes()},
          {"bytes", registry.bytes()},
          {"num_damaged", registry.num_damaged()},
          {"writable", registry.writable()},
          {"last_verify_time", TimeText(registry.last_verify_time())}};
}

Json ToJson(const v1::ServerInfo& info) {
  Json json = {
      {"version", info.version()},
      {"base_model", info.base_model()},
      {"base_model_digest", info.base_model_digest()},
      {"architecture", info.architecture()},
      {"dtype", info.dtype()},
      {"device", info.device()},
      {"context_tokens", info.context_tokens()},
      {"vocabulary_size", info.vocabulary_size()},
      {"kv_cache_tokens", info.kv_cache_tokens()},
      {"max_running_sequences", info.max_running_sequences()},
      {"methods", Json::array()},
      {"peft_types", Json::array()},
  };
  for (const std::string& method : info.methods()) {
    json["methods"].push_back(method);
  }
  for (const std::string& type : info.peft_types()) {
    json["peft_types"].push_back(type);
  }
  json["registry"] = ToJson(info.registry());
  return json;
}

Json ToJson(const v1::ResolvedRecipe& recipe) {
  Json json = {{"digest", recipe.digest()},
               {"method", recipe.method()},
               {"skills", Json::array()}};
  for (const v1::ResolvedSkill& skill : recipe.skills()) {
    json["skills"].push_back({{"name", skill.name()},
                              {"version", skill.version()},
                              {"digest", skill.digest()},
                              {"weight", AsWritten(skill.weight())}});
  }
  return json;
}

Json ToJson(const v1::SavedRecipe& recipe) {
  Json json = {{"name", recipe.name()},
               {"version", recipe.version()},
               {"aliases", Json::array()},
               {"labels", Json::object()},
               {"description", recipe.description()},
               {"create_time", TimeText(recipe.create_time())},
               {"resolved", ToJson(recipe.resolved())}};
  for (const std::string& alias : recipe.aliases()) {
    json["aliases"].push_back(alias);
  }
  for (const auto& [key, value] : recipe.labels()) {
    json["labels"][key] = value;
  }
  return json;
}

Json ToJson(const v1::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens()},
          {"cached_tokens", usage.cached_tokens()},
          {"generated_tokens", usage.generated_tokens()}};
}

Json ToJson(const v1::Timings& timings) {
  return {{"queued", Seconds(timings.queued())},
          {"compose", Seconds(timings.compose())},
          {"prefill", Seconds(timings.prefill())},
          {"decode", Seconds(timings.decode())}};
}

Json ToJson(const v1::Token& token) {
  Json json = {{"id", token.id()}};
  if (token.has_logprob()) {
    json["logprob"] = AsWritten(token.logprob());
  }
  for (const v1::TokenLogprob& top : token.top()) {
    json["top"].push_back(
        {{"id", top.id()}, {"logprob", AsWritten(top.logprob())}});
  }
  return json;
}

std::string FinishReasonText(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_EOS:
      return "eos";
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    default:
      return "unspecified";
  }
}

std::string TimeText(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0) {
    return "";
  }
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ",
                          absl::FromUnixSeconds(time.seconds()),
                          absl::UTCTimeZone());
}

double Seconds(const google::protobuf::Duration& duration) {
  // One rounding only, so that it prints as written.
  return (static_cast<double>(duration.seconds()) * 1e9 +
          static_cast<double>(duration.nanos())) /
         1e9;
}

Json ToJson(const v1::ListResidentResponse& resident) {
  Json adapters = Json::array();
  for (const v1::ResidentAdapter& adapter : resident.adapters()) {
    adapters.push_back({{"name", adapter.name()},
                        {"version", adapter.version()},
                        {"digest", adapter.digest()},
                        {"bytes", adapter.bytes()},
                        {"tier", adapter.tier()},
                        {"uses", adapter.uses()}});
  }
  Json compositions = Json::array();
  for (const v1::ResidentComposition& composition : resident.compositions()) {
    compositions.push_back({{"recipe", ToJson(composition.recipe())},
                            {"bytes", composition.bytes()},
                            {"pinned", composition.pinned()},
                            {"uses", composition.uses()}});
  }
  return {{"adapters", std::move(adapters)},
          {"compositions", std::move(compositions)}};
}

}  // namespace stockpot
