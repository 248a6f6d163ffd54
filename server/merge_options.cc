#include "server/merge_options.h"

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"

namespace stockpot {

namespace {

using v1::Recipe;
using v1::TiesMethod;

// Reads the fields that methods share, by the type of their message. Each
// Read...() is for messages that have the field.
class MethodReader {
 public:
  explicit MethodReader(MergeMethod method) { options_.method = method; }

  template <typename M>
  MethodReader& ReadDensity(const M& message) {
    if (message.has_density()) {
      options_.density = message.density();
    }
    return *this;
  }
  template <typename M>
  MethodReader& ReadLambda(const M& message) {
    if (message.has_lambda()) {
      options_.lambda = message.lambda();
    }
    return *this;
  }
  template <typename M>
  MethodReader& ReadRank(const M& message) {
    if (message.has_rank()) {
      options_.rank = message.rank();
      if (message.rank() == 0) {
        Refuse("rank", absl::StrCat("must be in [1, ", MergeOptions::kMaxRank,
                                    "]; got 0"));
      }
    }
    return *this;
  }
  template <typename M>
  MethodReader& ReadSpace(const M& message) {
    switch (message.space()) {
      case TiesMethod::SPACE_UNSPECIFIED:
      case TiesMethod::SPACE_DELTA:
        options_.space = MergeSpace::kDelta;
        return *this;
      case TiesMethod::SPACE_FACTORS:
        options_.space = MergeSpace::kFactors;
        return *this;
      case TiesMethod::SPACE_CORE:
        options_.space = MergeSpace::kCore;
        return *this;
      default:
        return RefuseUnknown("space", message.space());
    }
  }
  template <typename M>
  MethodReader& ReadSignElection(const M& message) {
    switch (message.sign_election()) {
      case TiesMethod::SIGN_ELECTION_UNSPECIFIED:
      case TiesMethod::SIGN_ELECTION_TOTAL:
        options_.sign_election = SignElection::kTotal;
        return *this;
      case TiesMethod::SIGN_ELECTION_FREQUENCY:
        options_.sign_election = SignElection::kFrequency;
        return *this;
      default:
        return RefuseUnknown("sign_election", message.sign_election());
    }
  }
  template <typename M>
  MethodReader& ReadDialect(const M& message) {
    switch (message.dialect()) {
      case v1::MERGE_DIALECT_UNSPECIFIED:
      case v1::MERGE_DIALECT_PEFT:
        options_.dialect = MergeDialect::kPeft;
        return *this;
      case v1::MERGE_DIALECT_MERGEKIT:
        options_.dialect = MergeDialect::kMergekit;
        return *this;
      default:
        return RefuseUnknown("dialect", message.dialect());
    }
  }
  template <typename M>
  MethodReader& ReadRule(const M& message) {
    switch (message.rule()) {
      case v1::INNER_RULE_UNSPECIFIED:
      case v1::INNER_RULE_TIES:
        options_.rule = MergeMethod::kTies;
        return *this;
      case v1::INNER_RULE_DARE:
        options_.rule = MergeMethod::kDare;
        return *this;
      default:
        return RefuseUnknown("rule", message.rule());
    }
  }
  template <typename M>
  MethodReader& ReadElection(const M& message) {
    options_.elect_signs = message.elect_signs();
    return ReadSignElection(message);
  }
  template <typename M>
  MethodReader& ReadSeed(const M& message) {
    options_.seed = message.seed();
    return *this;
  }
  MethodReader& ReadEpsilon(const v1::DellaMethod& message) {
    if (message.has_epsilon()) {
      options_.epsilon = message.epsilon();
    }
    return *this;
  }
  MethodReader& ReadBeta(const v1::CompressThenMergeMethod& message) {
    if (message.has_beta()) {
      options_.beta = message.beta();
    }
    return *this;
  }
  MethodReader& ReadGamma(const v1::BreadcrumbsMethod& message) {
    if (message.has_gamma()) {
      options_.gamma = message.gamma();
    }
    return *this;
  }

  // What every entry-wise rule has.
  template <typename M>
  MethodReader& ReadRuleOfEntries(const M& message) {
    return ReadDensity(message).ReadSpace(message).ReadRank(message).ReadLambda(
        message);
  }
  // What knots and compress_then_merge have.
  template <typename M>
  MethodReader& ReadInner(const M& message) {
    return ReadRule(message)
        .ReadDensity(message)
        .ReadSignElection(message)
        .ReadSeed(message)
        .ReadRank(message)
        .ReadLambda(message);
  }

  absl::StatusOr<MergeOptions> Finish(bool pico) {
    RETURN_IF_ERROR(error_);
    options_.pico = pico;
    RETURN_IF_ERROR(CheckMergeOptions(options_));
    return options_;
  }

 private:
  MethodReader& Refuse(absl::string_view field, absl::string_view what) {
    if (error_.ok()) {
      error_ = absl::InvalidArgumentError(absl::StrCat(
          "recipe.", MethodName(options_.method), ".", field, " ", what));
    }
    return *this;
  }
  MethodReader& RefuseUnknown(absl::string_view field, int value) {
    return Refuse(field, absl::StrCat("is unknown (", value, ")"));
  }

  MergeOptions options_;
  absl::Status error_;
};

}  // namespace

absl::StatusOr<MergeOptions> ToMergeOptions(const Recipe& recipe) {
  const auto read = [](MergeMethod method) { return MethodReader(method); };
  const bool pico = recipe.pico();
  switch (recipe.method_case()) {
    case Recipe::METHOD_NOT_SET:
    case Recipe::kCat:
      return read(MergeMethod::kCat).Finish(pico);
    case Recipe::kLinear:
      return read(MergeMethod::kLinear).Finish(pico);
    case Recipe::kLorahub:
      return read(MergeMethod::kLoraHub).Finish(pico);
    case Recipe::kSvd:
      return read(MergeMethod::kSvd).ReadRank(recipe.svd()).Finish(pico);
    case Recipe::kTies: {
      const TiesMethod& m = recipe.ties();
      return read(MergeMethod::kTies)
          .ReadRuleOfEntries(m)
          .ReadSignElection(m)
          .ReadDialect(m)
          .Finish(pico);
    }
    case Recipe::kDare: {
      const v1::DareMethod& m = recipe.dare();
      return read(MergeMethod::kDare)
          .ReadRuleOfEntries(m)
          .ReadElection(m)
          .ReadDialect(m)
          .ReadSeed(m)
          .Finish(pico);
    }
    case Recipe::kMagnitudePrune:
      return read(MergeMethod::kMagnitudePrune)
          .ReadRuleOfEntries(recipe.magnitude_prune())
          .Finish(pico);
    case Recipe::kDella: {
      const v1::DellaMethod& m = recipe.della();
      return read(MergeMethod::kDella)
          .ReadRuleOfEntries(m)
          .ReadElection(m)
          .ReadDialect(m)
          .ReadSeed(m)
          .ReadEpsilon(m)
          .Finish(pico);
    }
    case Recipe::kBreadcrumbs: {
      const v1::BreadcrumbsMethod& m = recipe.breadcrumbs();
      return read(MergeMethod::kBreadcrumbs)
          .ReadRuleOfEntries(m)
          .ReadElection(m)
          .ReadDialect(m)
          .ReadGamma(m)
          .Finish(pico);
    }
    case Recipe::kKnots:
      return read(MergeMethod::kKnots).ReadInner(recipe.knots()).Finish(pico);
    case Recipe::kTsv:
      return read(MergeMethod::kTsv)
          .ReadRank(recipe.tsv())
          .ReadLambda(recipe.tsv())
          .Finish(pico);
    case Recipe::kIso:
      return read(MergeMethod::kIso)
          .ReadRank(recipe.iso())
          .ReadLambda(recipe.iso())
          .Finish(pico);
    case Recipe::kCompressThenMerge:
      return read(MergeMethod::kCompressThenMerge)
          .ReadInner(recipe.compress_then_merge())
          .ReadBeta(recipe.compress_then_merge())
          .Finish(pico);
  }
  return absl::InvalidArgumentError("recipe.method is unknown");
}

}  // namespace stockpot
