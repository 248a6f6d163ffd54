// Fakes at the engine's seams: a tokenizer whose token i is a letter, a model
// whose next token follows from the last one, and a sink that keeps everything.

#ifndef STOCKPOT_TESTS_TESTING_ENGINE_FAKES_H_
#define STOCKPOT_TESTS_TESTING_ENGINE_FAKES_H_

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

#include "base/mutex.h"
#include "engine/engine.h"

namespace stockpot::testing {

// Opens once; what waits at it goes on.
class Gate {
 public:
  void Wait() {
    MutexLock lock(&mu_);
    while (!open_) {
      changed_.Wait(&mu_);
    }
  }
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
    changed_.SignalAll();
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
};

// Ids 0..25 are 'a'..'z', 26 is special and silent.
class FakeTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kVocab = 27;
  static constexpr int32_t kEos = 26;

  absl::StatusOr<std::vector<int32_t>> Encode(
      absl::string_view text, const EncodeOptions&) const override {
    std::vector<int32_t> ids;
    for (const char c : text) {
      if (c < 'a' || c > 'z') {
        return absl::InvalidArgumentError("not a letter");
      }
      ids.push_back(c - 'a');
    }
    return ids;
  }
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids,
                                     bool) const override {
    std::string text;
    for (const int32_t id : ids) {
      text += id == kEos ? "" : std::string(1, static_cast<char>('a' + id));
    }
    return text;
  }
  std::unique_ptr<DecodeState> NewDecodeState(bool) const override {
    return std::make_unique<State>();
  }
  int32_t vocab_size() const override { return kVocab; }
  absl::optional<int32_t> TokenToId(absl::string_view) const override {
    return absl::nullopt;
  }
  absl::optional<std::string> IdToToken(int32_t) const override {
    return absl::nullopt;
  }
  bool IsSpecial(int32_t id) const override { return id == kEos; }
  absl::optional<int32_t> bos_id() const override { return absl::nullopt; }
  absl::optional<int32_t> eos_id() const override { return kEos; }

 private:
  struct State : DecodeState {
    void Push(int32_t id, std::string& out) override {
      if (id < kEos) out.push_back(static_cast<char>('a' + id));
    }
    void Finish(std::string&) override {}
  };
};

// After letter x comes x + 1; 'z' is followed by the end. Keys and values are
// checked as a real model would use them: each sequence reads back from its
// blocks the tokens that it wrote.
class FakeRunner : public ModelRunner {
 public:
  absl::StatusOr<Logits> Run(
      const StepBatch& batch,
      absl::Span<const std::shared_ptr<const Composition>> mixes) override {
    if (on_step) on_step(batch);
    ++steps;
    num_mixes = static_cast<int>(mixes.size());
    if (!fail.ok()) return fail;
    auto data = std::make_shared<std::vector<float>>();
    int64_t rows = 0;
    for (const StepSequence& s : batch.sequences) {
      for (int32_t i = 0; i < s.num_rows; ++i) {
        const int32_t position = batch.positions[s.first_row + i];
        kv_[{s.block_ids[position / 4], position % 4}] =
            batch.token_ids[s.first_row + i];
      }
      if (!s.wants_logits) continue;
      const int32_t last = s.context_tokens - 1;
      const int32_t token = kv_[{s.block_ids[last / 4], last % 4}];
      std::vector<float> row(FakeTokenizer::kVocab, 0.0f);
      row[std::min(token + 1, FakeTokenizer::kEos)] = nan ? NAN : 10.0f;
      data->insert(data->end(), row.begin(), row.end());
      ++rows;
    }
    Logits logits;
    logits.data = data->data();
    logits.rows = rows;
    logits.vocab = FakeTokenizer::kVocab;
    logits.owner = data;
    return logits;
  }

  std::function<void(const StepBatch&)> on_step;
  absl::Status fail;
  std::atomic<bool> nan{false};
  std::atomic<int> steps{0};
  std::atomic<int> num_mixes{0};

 private:
  std::map<std::pair<int32_t, int32_t>, int32_t> kv_;
};

class FakeSink : public TokenSink {
 public:
  bool OnDelta(DeltaEvent delta) override {
    MutexLock lock(&mu_);
    text_[delta.index] += delta.text;
    for (const SampledToken& token : delta.tokens) {
      ids_[delta.index].push_back(token.id);
    }
    if (on_delta) on_delta();
    return !is_slow;
  }
  bool OnFinish(FinishEvent finish) override {
    MutexLock lock(&mu_);
    finishes_.push_back(finish);
    return true;
  }
  void OnDone(const absl::Status& status) override {
    MutexLock lock(&mu_);
    ++num_done_;
    status_ = status;
    changed_.SignalAll();
  }

  // Waits for OnDone().
  absl::Status Wait() {
    MutexLock lock(&mu_);
    while (num_done_ == 0) {
      changed_.Wait(&mu_);
    }
    return status_;
  }
  std::string text(int32_t index = 0) {
    MutexLock lock(&mu_);
    return text_[index];
  }
  std::vector<FinishEvent> finishes() {
    MutexLock lock(&mu_);
    return finishes_;
  }
  int num_done() {
    MutexLock lock(&mu_);
    return num_done_;
  }

  std::function<void()> on_delta;
  bool is_slow = false;

 private:
  Mutex mu_;
  CondVar changed_;
  std::map<int32_t, std::string> text_ ABSL_GUARDED_BY(mu_);
  std::map<int32_t, std::vector<int32_t>> ids_ ABSL_GUARDED_BY(mu_);
  std::vector<FinishEvent> finishes_ ABSL_GUARDED_BY(mu_);
  int num_done_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_TESTING_ENGINE_FAKES_H_
