#include "formats/tokenizer/token_steps.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/types/optional.h"

#include "formats/tokenizer/unicode.h"

namespace stockpot {
namespace {

// Cuts up to `max` copies of `content` off the front.
absl::string_view CutFront(absl::string_view text, absl::string_view content,
                           int64_t max) {
  while (max-- > 0 && absl::StartsWith(text, content)) {
    text.remove_prefix(content.size());
  }
  return text;
}

absl::string_view CutBack(absl::string_view text, absl::string_view content,
                          int64_t max) {
  while (max-- > 0 && absl::EndsWith(text, content)) {
    text.remove_suffix(content.size());
  }
  return text;
}

class ReplaceTokenStep final : public TokenStep {
 public:
  ReplaceTokenStep(const Pattern& pattern, const std::string& content)
      : pattern_(pattern), content_(content) {}
  void Push(std::string token, std::vector<std::string>& out) override {
    const absl::StatusOr<std::vector<MatchSpan>> spans =
        pattern_.FindMatches(token);
    if (!spans.ok()) {
      out.push_back(std::move(token));
      return;
    }
    std::string replaced;
    for (const MatchSpan& span : *spans) {
      if (span.is_match) {
        replaced.append(content_);
      } else {
        replaced.append(token, span.begin, span.end - span.begin);
      }
    }
    out.push_back(std::move(replaced));
  }
  void Finish(std::vector<std::string>&) override {}

 private:
  Pattern pattern_;
  std::string content_;
};

class ByteFallbackStep final : public TokenStep {
 public:
  void Push(std::string token, std::vector<std::string>& out) override {
    const absl::optional<char> byte = ByteOf(token);
    if (byte.has_value()) {
      run_.push_back(*byte);
      return;
    }
    Finish(out);
    out.push_back(std::move(token));
  }
  void Finish(std::vector<std::string>& out) override {
    if (run_.empty()) return;
    if (ValidateUtf8(run_).ok()) {
      out.push_back(run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) {
        out.emplace_back(kReplacementCharacter);
      }
    }
    run_.clear();
  }

 private:
  static absl::optional<char> ByteOf(absl::string_view token) {
    if (token.size() != 6 || !absl::StartsWith(token, "<0x") ||
        token[5] != '>' || !absl::ascii_isxdigit(token[3]) ||
        !absl::ascii_isxdigit(token[4])) {
      return absl::nullopt;
    }
    return static_cast<char>(
        std::stoi(std::string(token.substr(3, 2)), nullptr, 16));
  }

  std::string run_;
};

class StripTokenStep final : public TokenStep {
 public:
  explicit StripTokenStep(const StripSpec& spec) : spec_(spec) {}
  void Push(std::string token, std::vector<std::string>& out) override {
    absl::string_view text = CutFront(token, spec_.content, spec_.start);
    text = CutBack(text, spec_.content, spec_.stop);
    out.emplace_back(text);
  }
  void Finish(std::vector<std::string>&) override {}

 private:
  StripSpec spec_;
};

class MetaspaceTokenStep final : public TokenStep {
 public:
  explicit MetaspaceTokenStep(const Metaspace& metaspace)
      : metaspace_(metaspace) {}
  void Push(std::string token, std::vector<std::string>& out) override {
    const bool drops =
        is_first_ && metaspace_.prepend != Metaspace::Prepend::kNever;
    is_first_ = false;
    out.push_back(absl::StrReplaceAll(
        token, {{metaspace_.replacement, drops ? "" : " "}}));
  }
  void Finish(std::vector<std::string>&) override {}

 private:
  Metaspace metaspace_;
  bool is_first_ = true;
};

class SuffixTokenStep final : public TokenStep {
 public:
  explicit SuffixTokenStep(const std::string& suffix) : suffix_(suffix) {}
  void Push(std::string token, std::vector<std::string>& out) override {
    Release(" ", out);
    held_ = std::move(token);
  }
  void Finish(std::vector<std::string>& out) override { Release("", out); }

 private:
  void Release(absl::string_view with, std::vector<std::string>& out) {
    if (!held_.has_value()) return;
    out.push_back(absl::StrReplaceAll(*held_, {{suffix_, with}}));
    held_.reset();
  }

  std::string suffix_;
  absl::optional<std::string> held_;  // The last token so far.
};

class ReplaceTextStep final : public TextStep {
 public:
  ReplaceTextStep(const std::string& from, const std::string& to)
      : from_(from), to_(to) {}
  void Push(absl::string_view text, std::string& out) override {
    held_.append(text.data(), text.size());
    size_t done = 0;
    for (size_t at; (at = held_.find(from_, done)) != std::string::npos;
         done = at + from_.size()) {
      out.append(held_, done, at - done);
      out.append(to_);
    }
    // Keep what may be the beginning of a match.
    size_t keep = std::min(held_.size() - done, from_.size() - 1);
    while (keep > 0 &&
           held_.compare(held_.size() - keep, keep, from_, 0, keep) != 0) {
      --keep;
    }
    out.append(held_, done, held_.size() - keep - done);
    held_.erase(0, held_.size() - keep);
  }
  void Finish(std::string& out) override {
    out.append(held_);
    held_.clear();
  }

 private:
  std::string from_;
  std::string to_;
  std::string held_;  // A proper prefix of `from_`.
};

class StripTextStep final : public TextStep {
 public:
  explicit StripTextStep(const StripSpec& spec) : spec_(spec) {}
  void Push(absl::string_view text, std::string& out) override {
    const size_t size = spec_.content.size();
    while (num_cut_ < spec_.start && absl::StartsWith(text, spec_.content)) {
      text.remove_prefix(size);
      ++num_cut_;
    }
    if (text.empty()) return;
    num_cut_ = spec_.start;
    // Hold back the trailing run: it may be the text's end.
    const absl::string_view body = CutBack(text, spec_.content, spec_.stop);
    int64_t num_tail = static_cast<int64_t>((text.size() - body.size()) / size);
    if (body.empty()) {
      num_tail += num_held_;
    } else {
      for (; num_held_ > 0; --num_held_) out.append(spec_.content);
      out.append(body.data(), body.size());
    }
    for (; num_tail > spec_.stop; --num_tail) out.append(spec_.content);
    num_held_ = num_tail;
  }
  void Finish(std::string&) override {}

 private:
  StripSpec spec_;
  int64_t num_cut_ = 0;   // Leading characters cut; `start` once text began.
  int64_t num_held_ = 0;  // Trailing characters held back, at most `stop`.
};

}  // namespace

TokenStepFactory ReplaceTokens(Pattern pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)] {
    return std::make_unique<ReplaceTokenStep>(pattern, content);
  };
}

TokenStepFactory ByteFallbackTokens() {
  return [] { return std::make_unique<ByteFallbackStep>(); };
}

TokenStepFactory StripTokens(StripSpec spec) {
  return [spec = std::move(spec)] {
    return std::make_unique<StripTokenStep>(spec);
  };
}

TokenStepFactory MetaspaceTokens(Metaspace metaspace) {
  return [metaspace = std::move(metaspace)] {
    return std::make_unique<MetaspaceTokenStep>(metaspace);
  };
}

TokenStepFactory SuffixTokens(std::string suffix) {
  return [suffix = std::move(suffix)] {
    return std::make_unique<SuffixTokenStep>(suffix);
  };
}

TextStepFactory ReplaceText(std::string from, std::string to) {
  return [from = std::move(from), to = std::move(to)] {
    return std::make_unique<ReplaceTextStep>(from, to);
  };
}

TextStepFactory StripText(StripSpec spec) {
  return [spec = std::move(spec)] {
    return std::make_unique<StripTextStep>(spec);
  };
}

}  // namespace stockpot
