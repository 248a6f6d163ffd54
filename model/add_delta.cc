#include "model/add_delta.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "model/cpu_storage.h"
#include "model/delta_kernels.h"

namespace stockpot {

namespace {

// Rows handled together: what they need between the two halves stays in the
// processor's cache.
constexpr int64_t kBlockRows = 32;
constexpr int64_t kBlockColumns = 256;
constexpr int64_t kRanksPerUnit = 4;

// Calls f(unit) for each, on all threads or on this one.
template <typename F>
void ForEachUnit(bool parallel, int64_t num_units, const F& f) {
  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      f(unit);
    }
  };
  if (parallel) {
    at::parallel_for(0, num_units, 1, run);
  } else {
    run(0, num_units);
  }
}

float Widened(float value) { return value; }
float Widened(kernels::Bf16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

// What a module reads: rows of x, or tokens.
template <typename T>
struct Inputs {
  explicit Inputs(const at::Tensor& read) : stride(read.stride(0)) {
    if (read.dim() == 1) {
      ids = read.const_data_ptr<int64_t>();
    } else {
      x = static_cast<const T*>(read.data_ptr());
    }
  }

  const T* x = nullptr;
  const int64_t* ids = nullptr;
  int64_t stride;  // From a row of x to the next.

  Inputs From(int64_t row) const {
    Inputs rest = *this;
    rest.x = x == nullptr ? nullptr : x + row * stride;
    rest.ids = ids == nullptr ? nullptr : ids + row;
    return rest;
  }
};

// The rows [first, first + num_rows) of a step.
template <typename T>
class DeltaBlock {
 public:
  DeltaBlock(const Inputs<T>& inputs, const ModuleDelta& delta,
             const int32_t* mix, const at::Tensor& y, int64_t first,
             int64_t num_rows)
      : delta_(delta),
        mix_(mix + first),
        inputs_(inputs.From(first)),
        y_(static_cast<T*>(y.data_ptr()) + first * y.stride(0)),
        y_stride_(y.stride(0)),
        out_(y.size(1)),
        num_rows_(num_rows),
        num_skills_(static_cast<int64_t>(delta.skills.size())) {
    FindUses();
  }

  void Run(bool parallel) {
    if (uses_.empty()) {
      return;
    }
    ForEachUnit(parallel, static_cast<int64_t>(units_.size()),
                [this](int64_t unit) { Shrink(units_[unit]); });
    Mix();
    const int64_t num_chunks = (out_ + kBlockColumns - 1) / kBlockColumns;
    ForEachUnit(parallel, num_chunks, [this](int64_t chunk) { Expand(chunk); });
  }

 private:
  // One skill and the rows of the block that use it.
  struct Use {
    int64_t skill = 0;
    int64_t rank = 0;
    std::vector<int32_t> rows;
    int64_t offset = 0;  // Of its [rows, rank] products in between_.
  };
  struct Unit {
    int64_t use = 0;
    int64_t first_rank = 0;
  };

  const SkillShare& Share(int64_t row, int64_t skill) const {
    return delta_.shares[mix_[row] * num_skills_ + skill];
  }

  void FindUses() {
    int64_t offset = 0;
    for (int64_t s = 0; s < num_skills_; ++s) {
      Use use;
      use.skill = s;
      use.rank = delta_.skills[s].a.size(0);
      use.offset = offset;
      for (int64_t row = 0; row < num_rows_; ++row) {
        if (Share(row, s).expand != 0) {
          use.rows.push_back(static_cast<int32_t>(row));
        }
      }
      if (use.rows.empty()) {
        continue;
      }
      offset += static_cast<int64_t>(use.rows.size()) * use.rank;
      for (int64_t r = 0; r < use.rank; r += kRanksPerUnit) {
        units_.push_back({static_cast<int64_t>(uses_.size()), r});
      }
      uses_.push_back(std::move(use));
    }
    between_.resize(offset);
  }

  void Shrink(const Unit& unit) {
    const Use& use = uses_[unit.use];
    const at::Tensor& factor = delta_.skills[use.skill].a;
    const int64_t in = factor.size(1);
    const T* a =
        static_cast<const T*>(factor.data_ptr()) + unit.first_rank * in;
    const int64_t ranks = std::min(kRanksPerUnit, use.rank - unit.first_rank);
    float* t = between_.data() + use.offset + unit.first_rank;
    if (inputs_.ids == nullptr) {
      kernels::Shrink(inputs_.x, inputs_.stride, ListOf(use), a, ranks, in, t,
                      use.rank);
      return;
    }
    for (size_t i = 0; i < use.rows.size(); ++i, t += use.rank) {
      const T* column = a + inputs_.ids[use.rows[i]];
      for (int64_t r = 0; r < ranks; ++r) {
        t[r] = Widened(column[r * in]);
      }
    }
  }

  // Turns each row's products into what its mix expands.
  void Mix() {
    std::vector<float*> of_row(num_rows_ * uses_.size(), nullptr);
    for (size_t u = 0; u < uses_.size(); ++u) {
      float* next = between_.data() + uses_[u].offset;
      for (const int32_t row : uses_[u].rows) {
        of_row[row * uses_.size() + u] = next;
        next += uses_[u].rank;
      }
    }
    for (int64_t row = 0; row < num_rows_; ++row) {
      float* const* products = of_row.data() + row * uses_.size();
      if (delta_.joint[mix_[row]]) {
        MixJointly(row, products);
        continue;
      }
      for (size_t u = 0; u < uses_.size(); ++u) {
        if (products[u] != nullptr) {
          const float share = Share(row, uses_[u].skill).expand;
          for (int64_t r = 0; r < uses_[u].rank; ++r) {
            products[u][r] *= share;
          }
        }
      }
    }
  }

  void MixJointly(int64_t row, float* const* products) {
    std::vector<float> sum;
    for (size_t u = 0; u < uses_.size(); ++u) {
      if (products[u] != nullptr) {
        sum.resize(uses_[u].rank);
        const float share = Share(row, uses_[u].skill).shrink;
        for (int64_t r = 0; r < uses_[u].rank; ++r) {
          sum[r] += share * products[u][r];
        }
      }
    }
    for (size_t u = 0; u < uses_.size(); ++u) {
      if (products[u] != nullptr) {
        TORCH_CHECK(static_cast<int64_t>(sum.size()) == uses_[u].rank,
                    "a joint mix has unequal ranks");
        const float share = Share(row, uses_[u].skill).expand;
        for (int64_t r = 0; r < uses_[u].rank; ++r) {
          products[u][r] = share * sum[r];
        }
      }
    }
  }

  void Expand(int64_t chunk) {
    const int64_t first = chunk * kBlockColumns;
    const int64_t n = std::min(kBlockColumns, out_ - first);
    float sums[kBlockRows * kBlockColumns];  // [num_rows, kBlockColumns]
    std::fill_n(sums, num_rows_ * kBlockColumns, 0.0f);
    std::vector<bool> changed(num_rows_, false);
    for (const Use& use : uses_) {
      const T* b = static_cast<const T*>(delta_.skills[use.skill].b.data_ptr());
      kernels::Expand(between_.data() + use.offset, ListOf(use), b + first,
                      out_, use.rank, n, sums, kBlockColumns);
      for (const int32_t row : use.rows) {
        changed[row] = true;
      }
    }
    for (int64_t row = 0; row < num_rows_; ++row) {
      if (changed[row]) {
        kernels::AddTo(sums + row * kBlockColumns, n,
                       y_ + row * y_stride_ + first);
      }
    }
  }

  static kernels::RowList ListOf(const Use& use) {
    return {use.rows.data(), static_cast<int64_t>(use.rows.size())};
  }

  const ModuleDelta& delta_;
  const int32_t* const mix_;
  const Inputs<T> inputs_;
  T* const y_;
  const int64_t y_stride_;
  const int64_t out_;
  const int64_t num_rows_;
  const int64_t num_skills_;
  std::vector<Use> uses_;
  std::vector<Unit> units_;
  std::vector<float> between_;
};

// `read` is x [rows, in], or ids [rows].
void AddBlocks(const at::Tensor& read, const ModuleDelta& delta,
               const at::Tensor& mix, const at::Tensor& y) {
  const int64_t rows = read.size(0);
  const auto* mixes = static_cast<const int32_t*>(mix.data_ptr());
  WithCpuStorage(y, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const Inputs<T> inputs(read);
    if (rows <= kBlockRows) {
      DeltaBlock<T>(inputs, delta, mixes, y, 0, rows).Run(/*parallel=*/true);
      return;
    }
    const int64_t num_blocks = (rows + kBlockRows - 1) / kBlockRows;
    ForEachUnit(/*parallel=*/true, num_blocks, [&](int64_t block) {
      const int64_t first = block * kBlockRows;
      DeltaBlock<T>(inputs, delta, mixes, y, first,
                    std::min(kBlockRows, rows - first))
          .Run(/*parallel=*/false);
    });
  });
}

// Adds what `delta` makes of t [rows, R] float32, the first halves' products.
void AddStackedProducts(const at::Tensor& t, const StackedDelta& delta,
                        const at::Tensor& mix, at::Tensor y) {
  const at::Tensor expand = delta.expand.index_select(0, mix);
  const at::Tensor zero = at::zeros_like(t);
  at::Tensor v = at::where(expand == 0, zero, t * expand);
  if (delta.shrink.defined()) {
    const at::Tensor shrink = delta.shrink.index_select(0, mix);
    // [rows, lanes]: the sum over skills, lane by lane.
    const at::Tensor sum =
        at::zeros({t.size(0), delta.a.size(0)}, t.options())
            .index_add_(1, delta.lane,
                        at::where(shrink == 0, zero, t * shrink));
    v = at::where(delta.joint.index_select(0, mix),
                  sum.index_select(1, delta.lane) * expand, v);
  }
  y.addmm_(v.to(y.scalar_type()), delta.b);
}

}  // namespace

void AddDelta(const at::Tensor& x, const ModuleDelta& delta,
              const at::Tensor& mix, at::Tensor y) {
  AddBlocks(x, delta, mix, y);
}

void AddEmbeddingDelta(const at::Tensor& ids, const ModuleDelta& delta,
                       const at::Tensor& mix, at::Tensor y) {
  AddBlocks(ids, delta, mix, y);
}

void AddStackedDelta(const at::Tensor& x, const StackedDelta& delta,
                     const at::Tensor& mix, at::Tensor y) {
  AddStackedProducts(at::linear(x, delta.a).to(at::kFloat), delta, mix,
                     std::move(y));
}

void AddStackedEmbeddingDelta(const at::Tensor& ids, const StackedDelta& delta,
                              const at::Tensor& mix, at::Tensor y) {
  const at::Tensor columns =
      delta.a.index_select(1, ids.to(delta.a.device()));  // [R, rows]
  AddStackedProducts(columns.t().to(at::kFloat), delta, mix, std::move(y));
}

void ApplyOutputTerms(const ModuleDelta& delta, const at::Tensor& mix,
                      at::Tensor y) {
  at::Tensor wide = y.to(at::kFloat);
  if (delta.gain.defined()) {
    wide = wide * delta.gain.index_select(0, mix);
  }
  if (delta.shift.defined()) {
    wide = wide + delta.shift.index_select(0, mix);
  }
  y.copy_(wide);
}

at::Tensor ScaledInputs(const ModuleDelta& delta, const at::Tensor& mix,
                        const at::Tensor& x) {
  return delta.input_gain.defined()
             ? (x * delta.input_gain.index_select(0, mix)).to(x.scalar_type())
             : x;
}

}  // namespace stockpot
