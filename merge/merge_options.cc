#include "merge/merge_options.h"

#include <bit>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/status_macros.h"

namespace stockpot {

namespace {

// What each method reads.
enum Reads : uint32_t {
  kReadsDensity = 1 << 0,
  kReadsEpsilon = 1 << 1,
  kReadsGamma = 1 << 2,
  kReadsRule = 1 << 3,
  kReadsElectSigns = 1 << 4,
  kReadsSignElection = 1 << 5,
  kReadsSeed = 1 << 6,
  kReadsSpace = 1 << 7,
  kReadsDialect = 1 << 8,
  kReadsRank = 1 << 9,
  kReadsLambda = 1 << 10,
  kReadsBeta = 1 << 11,
};

constexpr uint32_t kReadsOfEveryRule =
    kReadsDensity | kReadsSpace | kReadsRank | kReadsLambda;
constexpr uint32_t kReadsOfVotes = kReadsSignElection | kReadsDialect;
constexpr uint32_t kReadsOfInnerRules = kReadsRule | kReadsDensity |
                                        kReadsSignElection | kReadsSeed |
                                        kReadsRank | kReadsLambda;

struct MethodRow {
  MergeMethod method;
  const char* name;
  uint32_t reads;
};

constexpr MethodRow kMethods[] = {
    {MergeMethod::kCat, "cat", 0},
    {MergeMethod::kLinear, "linear", 0},
    {MergeMethod::kLoraHub, "lorahub", 0},
    {MergeMethod::kSvd, "svd", kReadsRank},
    {MergeMethod::kMagnitudePrune, "magnitude_prune", kReadsOfEveryRule},
    {MergeMethod::kTies, "ties", kReadsOfEveryRule | kReadsOfVotes},
    {MergeMethod::kDare, "dare",
     kReadsOfEveryRule | kReadsOfVotes | kReadsElectSigns | kReadsSeed},
    {MergeMethod::kDella, "della",
     kReadsOfEveryRule | kReadsOfVotes | kReadsElectSigns | kReadsSeed |
         kReadsEpsilon},
    {MergeMethod::kBreadcrumbs, "breadcrumbs",
     kReadsOfEveryRule | kReadsOfVotes | kReadsElectSigns | kReadsGamma},
    {MergeMethod::kKnots, "knots", kReadsOfInnerRules},
    {MergeMethod::kTsv, "tsv", kReadsRank | kReadsLambda},
    {MergeMethod::kIso, "iso", kReadsRank | kReadsLambda},
    {MergeMethod::kCompressThenMerge, "compress_then_merge",
     kReadsOfInnerRules | kReadsBeta},
};

const MethodRow* Find(MergeMethod method) {
  for (const MethodRow& row : kMethods) {
    if (row.method == method) {
      return &row;
    }
  }
  return nullptr;
}

// What these options read: less than their method may.
uint32_t ReadsOf(const MergeOptions& options) {
  const MethodRow* row = Find(options.method);
  uint32_t reads = row == nullptr ? 0 : row->reads;
  if ((reads & kReadsElectSigns) != 0 && !options.elect_signs) {
    reads &= ~static_cast<uint32_t>(kReadsSignElection);
    // Without an election the dialects of breadcrumbs are one.
    if (options.method == MergeMethod::kBreadcrumbs) {
      reads &= ~static_cast<uint32_t>(kReadsDialect);
    }
  }
  if ((reads & kReadsRule) != 0 && options.rule != MergeMethod::kDare) {
    reads &= ~static_cast<uint32_t>(kReadsSeed);
  }
  if ((reads & kReadsSpace) != 0 && options.space == MergeSpace::kFactors) {
    reads &= ~static_cast<uint32_t>(kReadsRank | kReadsDialect);
  }
  return reads;
}

// Empty for a value that is none, as the two below.
absl::string_view TextOf(MergeSpace space) {
  switch (space) {
    case MergeSpace::kDelta:
      return "delta";
    case MergeSpace::kFactors:
      return "factors";
    case MergeSpace::kCore:
      return "core";
  }
  return "";
}

absl::string_view TextOf(SignElection election) {
  switch (election) {
    case SignElection::kTotal:
      return "total";
    case SignElection::kFrequency:
      return "frequency";
  }
  return "";
}

absl::string_view TextOf(MergeDialect dialect) {
  switch (dialect) {
    case MergeDialect::kPeft:
      return "peft";
    case MergeDialect::kMergekit:
      return "mergekit";
  }
  return "";
}

// Builds "recipe.<method>.<option> ..." errors.
class OptionCheck {
 public:
  explicit OptionCheck(const MergeOptions& options)
      : options_(options), reads_(Find(options.method)->reads) {}

  absl::Status Run() const {
    RETURN_IF_ERROR(CheckEnums());
    RETURN_IF_ERROR(CheckNumbers());
    RETURN_IF_ERROR(CheckShares());
    return CheckExclusions();
  }

 private:
  bool Reads(uint32_t option) const { return (reads_ & option) != 0; }

  absl::Status Bad(absl::string_view option, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(
        "recipe.", MethodName(options_.method), ".", option, " ", what));
  }

  absl::Status CheckEnums() const {
    if (Reads(kReadsSpace) && TextOf(options_.space).empty()) {
      return Bad("space", "is unknown; expected delta, factors or core");
    }
    if (Reads(kReadsSignElection) && TextOf(options_.sign_election).empty()) {
      return Bad("sign_election", "is unknown; expected total or frequency");
    }
    if (Reads(kReadsDialect) && TextOf(options_.dialect).empty()) {
      return Bad("dialect", "is unknown; expected peft or mergekit");
    }
    if (Reads(kReadsRule) && options_.rule != MergeMethod::kTies &&
        options_.rule != MergeMethod::kDare) {
      return Bad("rule", "is unknown; expected ties or dare");
    }
    return absl::OkStatus();
  }

  // Conditions are negated, so that NaN fails.
  absl::Status CheckNumbers() const {
    if (Reads(kReadsDensity) &&
        !(options_.density > 0 && options_.density <= 1)) {
      return Bad("density",
                 absl::StrCat("must be in (0, 1]; got ", options_.density));
    }
    if (Reads(kReadsLambda) &&
        !(std::abs(options_.lambda) <= MergeOptions::kMaxLambda &&
          options_.lambda != 0)) {
      return Bad(
          "lambda",
          absl::StrCat("must be finite, at most ", MergeOptions::kMaxLambda,
                       " in size and not 0; got ", options_.lambda));
    }
    if (Reads(kReadsBeta) && !(options_.beta >= 0 && options_.beta <= 1)) {
      return Bad("beta",
                 absl::StrCat("must be in [0, 1]; got ", options_.beta));
    }
    if (Reads(kReadsRank) && options_.rank > MergeOptions::kMaxRank) {
      return Bad("rank", absl::StrCat("must be in [1, ", MergeOptions::kMaxRank,
                                      "]; got ", options_.rank));
    }
    return absl::OkStatus();
  }

  absl::Status CheckShares() const {
    const double density = AsWritten(options_.density);
    if (Reads(kReadsEpsilon)) {
      const double epsilon = AsWritten(options_.epsilon);
      if (!(epsilon >= 0 && density - epsilon > 0 && density + epsilon <= 1)) {
        return Bad("epsilon",
                   absl::StrCat("must be at least 0 and leave density +- "
                                "epsilon within (0, 1]; got ",
                                options_.epsilon, " around a density of ",
                                options_.density));
      }
    }
    if (Reads(kReadsGamma)) {
      const double gamma = AsWritten(options_.gamma);
      if (!(gamma >= 0 && density + gamma <= 1)) {
        return Bad("gamma",
                   absl::StrCat("must be at least 0 and with density at most "
                                "1; got ",
                                options_.gamma, " beside a density of ",
                                options_.density));
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckExclusions() const {
    if (Reads(kReadsElectSigns) && !options_.elect_signs &&
        options_.sign_election != SignElection::kTotal) {
      return Bad("sign_election", "needs elect_signs");
    }
    if (Reads(kReadsSpace) && options_.space == MergeSpace::kFactors) {
      if (options_.rank != 0) {
        return Bad("rank",
                   "does not go with the factors space, whose result has the "
                   "rank of the skills; leave it out, or choose the delta or "
                   "core space");
      }
      if (Reads(kReadsDialect) && options_.dialect != MergeDialect::kPeft) {
        return Bad("dialect",
                   "mergekit does not go with the factors space: each factor "
                   "would be divided by the weights once more; choose the "
                   "delta or core space");
      }
    }
    return absl::OkStatus();
  }

  const MergeOptions& options_;
  const uint32_t reads_;
};

}  // namespace

const char* MethodName(MergeMethod method) {
  const MethodRow* row = Find(method);
  return row == nullptr ? "unknown" : row->name;
}

std::vector<MergeMethod> AllMethods() {
  std::vector<MergeMethod> methods;
  for (const MethodRow& row : kMethods) {
    methods.push_back(row.method);
  }
  return methods;
}

bool IsDerived(const MergeOptions& options) {
  switch (options.method) {
    case MergeMethod::kCat:
    case MergeMethod::kLinear:
    case MergeMethod::kLoraHub:
      return options.pico;
    default:
      return true;
  }
}

bool NeedsEqualRanks(const MergeOptions& options) {
  const MethodRow* row = Find(options.method);
  return options.method == MergeMethod::kLinear ||
         options.method == MergeMethod::kLoraHub ||
         (row != nullptr && (row->reads & kReadsSpace) != 0 &&
          options.space == MergeSpace::kFactors);
}

bool HasRank(const MergeOptions& options) {
  return (ReadsOf(options) & kReadsRank) != 0;
}

absl::Status CheckMergeOptions(const MergeOptions& options) {
  if (Find(options.method) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "recipe.method is unknown (", static_cast<int>(options.method), ")"));
  }
  if (options.pico && (options.method == MergeMethod::kLinear ||
                       options.method == MergeMethod::kLoraHub)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "recipe.pico does not go with recipe.", MethodName(options.method),
        ", which mixes factors rather than updates; choose cat"));
  }
  return OptionCheck(options).Run();
}

std::vector<MergeOption> CanonicalOptions(const MergeOptions& options) {
  const uint32_t reads = ReadsOf(options);
  std::vector<MergeOption> out;
  const auto add_float = [&](uint32_t flag, const char* name, float value) {
    if ((reads & flag) != 0) {
      out.push_back({name, std::bit_cast<uint32_t>(value == 0 ? 0.0f : value),
                     absl::StrCat(value)});
    }
  };
  const auto add = [&](uint32_t flag, const char* name, uint64_t value,
                       absl::string_view text) {
    if ((reads & flag) != 0) {
      out.push_back({name, value, std::string(text)});
    }
  };
  add(kReadsRule, "rule", static_cast<uint64_t>(options.rule),
      MethodName(options.rule));
  add_float(kReadsDensity, "density", options.density);
  add_float(kReadsEpsilon, "epsilon", options.epsilon);
  add_float(kReadsGamma, "gamma", options.gamma);
  add(kReadsElectSigns, "elect_signs", options.elect_signs ? 1 : 0,
      options.elect_signs ? "true" : "false");
  add(kReadsSignElection, "sign_election",
      static_cast<uint64_t>(options.sign_election),
      TextOf(options.sign_election));
  add(kReadsSeed, "seed", options.seed, absl::StrCat(options.seed));
  add(kReadsSpace, "space", static_cast<uint64_t>(options.space),
      TextOf(options.space));
  add(kReadsDialect, "dialect", static_cast<uint64_t>(options.dialect),
      TextOf(options.dialect));
  add(kReadsRank, "rank", options.rank,
      options.rank == 0 ? "largest" : std::to_string(options.rank));
  add_float(kReadsLambda, "lambda", options.lambda);
  // As pico, younger than digests that clients hold: those stay.
  if (options.beta != 1) {
    add_float(kReadsBeta, "beta", options.beta);
  }
  if (options.pico) {
    out.push_back({"pico", 1, "true"});
  }
  return out;
}

std::string MethodText(const MergeOptions& options) {
  const std::vector<MergeOption> values = CanonicalOptions(options);
  if (values.empty()) {
    return MethodName(options.method);
  }
  return absl::StrCat(
      MethodName(options.method), "(",
      absl::StrJoin(values, ",",
                    [](std::string* out, const MergeOption& option) {
                      absl::StrAppend(out, option.name, "=", option.text);
                    }),
      ")");
}

double AsWritten(float value) {
  double decimal = value;
  // Six digits, which a float always holds.
  return absl::SimpleAtod(absl::StrCat(value), &decimal) ? decimal : value;
}

}  // namespace stockpot
