#include "client/inspection_text.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

#include "client/table.h"

namespace stockpot {
namespace {

using Modules = std::vector<const v1::ModuleInspection*>;

bool IsDigit(char c) { return std::isdigit(static_cast<unsigned char>(c)); }

// The number at the start of `text`, which loses it.
absl::string_view TakeNumber(absl::string_view* text) {
  size_t n = 0;
  while (n < text->size() && IsDigit((*text)[n])) {
    ++n;
  }
  const absl::string_view number = text->substr(0, n);
  text->remove_prefix(n);
  return number;
}

// "layers.2" before "layers.10".
bool NaturalLess(absl::string_view x, absl::string_view y) {
  while (!x.empty() && !y.empty()) {
    if (IsDigit(x[0]) && IsDigit(y[0])) {
      const absl::string_view nx = TakeNumber(&x);
      const absl::string_view ny = TakeNumber(&y);
      if (nx != ny) {
        return nx.size() != ny.size() ? nx.size() < ny.size() : nx < ny;
      }
      continue;
    }
    if (x[0] != y[0]) {
      return x[0] < y[0];
    }
    x.remove_prefix(1);
    y.remove_prefix(1);
  }
  return x.size() < y.size();
}

std::string Number(double value) { return absl::StrFormat("%.3g", value); }

void PrintEach(Modules modules, std::ostream& out) {
  std::sort(modules.begin(), modules.end(), [](const auto* x, const auto* y) {
    return NaturalLess(x->module(), y->module());
  });
  Table table({"MODULE", "RANK", "NORM", "STABLE RANK", "EFFECTIVE RANK", "K90",
               "DEAD", "ZERO"},
              {false, true, true, true, true, true, true, false});
  for (const v1::ModuleInspection* m : modules) {
    table.AddRow({m->module(), absl::StrCat(m->rank()),
                  Number(m->frobenius_norm()), Number(m->stable_rank()),
                  Number(m->effective_rank()), absl::StrCat(m->k90()),
                  absl::StrCat(m->dead_ranks()), m->zero() ? "yes" : ""});
  }
  table.Print(out);
}

// Sums over the modules with one last name.
struct Group {
  int num_modules = 0;
  int num_zero = 0;
  uint32_t min_rank = ~uint32_t{0};
  uint32_t max_rank = 0;
  uint32_t dead_ranks = 0;  // Of those that are not zero, as what follows.
  double norm = 0;
  double stable_rank = 0;
  double effective_rank = 0;
  double k90 = 0;
};

void Add(const v1::ModuleInspection& module, Group* group) {
  ++group->num_modules;
  group->min_rank = std::min(group->min_rank, module.rank());
  group->max_rank = std::max(group->max_rank, module.rank());
  if (module.zero()) {
    ++group->num_zero;
    return;
  }
  group->dead_ranks += module.dead_ranks();
  group->norm += module.frobenius_norm();
  group->stable_rank += module.stable_rank();
  group->effective_rank += module.effective_rank();
  group->k90 += module.k90();
}

void PrintGroups(const Modules& modules, std::ostream& out) {
  std::map<std::string, Group> groups;
  for (const v1::ModuleInspection* m : modules) {
    Add(*m, &groups[m->module().substr(m->module().rfind('.') + 1)]);
  }
  Table table({"TARGET", "MODULES", "RANK", "NORM", "STABLE RANK",
               "EFFECTIVE RANK", "K90", "DEAD", "ZERO"},
              {false, true, true, true, true, true, true, true, true});
  for (const auto& [target, g] : groups) {
    const int n = std::max(g.num_modules - g.num_zero, 1);
    table.AddRow({target, absl::StrCat(g.num_modules),
                  g.min_rank == g.max_rank
                      ? absl::StrCat(g.max_rank)
                      : absl::StrCat(g.min_rank, "-", g.max_rank),
                  Number(g.norm / n), Number(g.stable_rank / n),
                  Number(g.effective_rank / n), Number(g.k90 / n),
                  absl::StrCat(g.dead_ranks), absl::StrCat(g.num_zero)});
  }
  table.Print(out);
}

void PrintWarnings(const Modules& modules, std::ostream& out) {
  size_t num_zero = 0;
  uint64_t num_ranks = 0;
  uint64_t num_dead = 0;
  for (const v1::ModuleInspection* m : modules) {
    num_zero += m->zero() ? 1 : 0;
    num_ranks += m->zero() ? 0 : m->rank();
    num_dead += m->zero() ? 0 : m->dead_ranks();
  }
  if (num_zero == modules.size()) {
    out << "untrained: B is all zero in every module, so the adapter does "
           "nothing\n";
  } else if (num_zero > 0) {
    out << num_zero << " of " << modules.size()
        << " modules are untrained: their B is all zero\n";
  }
  if (num_dead > 0) {
    out << num_dead << " of " << num_ranks
        << (num_zero > 0 ? " ranks of the others" : " ranks")
        << " are dead: they add next to nothing, a lower rank would do\n";
  }
}

}  // namespace

void PrintInspection(const v1::AdapterInspection& inspection, bool all_modules,
                     std::ostream& out) {
  if (inspection.modules().empty()) {
    out << "nothing to inspect: it only scales activations\n";
    return;
  }
  Modules modules;
  for (const v1::ModuleInspection& module : inspection.modules()) {
    modules.push_back(&module);
  }
  if (all_modules) {
    PrintEach(modules, out);
  } else {
    PrintGroups(modules, out);
  }
  PrintWarnings(modules, out);
}

}  // namespace stockpot
