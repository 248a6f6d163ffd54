// Turns libtorch's exceptions into a status: the only place that does.

#ifndef STOCKPOT_MODEL_TORCH_STATUS_H_
#define STOCKPOT_MODEL_TORCH_STATUS_H_

#include <new>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <c10/util/Exception.h>

namespace stockpot {

// Returns f(), an absl::Status or absl::StatusOr<T>. Never throws.
// Errors: ResourceExhausted for lack of memory, Internal for anything else that
// libtorch throws, and whatever f() returns.
template <typename F>
auto CatchTorch(F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const c10::OutOfMemoryError&) {
    return absl::ResourceExhaustedError("out of device memory");
  } catch (const c10::Error& error) {
    // The CPU allocator reports a failed allocation as a plain Error.
    if (absl::StrContains(error.what_without_backtrace(),
                          "not enough memory")) {
      return absl::ResourceExhaustedError("out of memory");
    }
    return absl::InternalError(
        absl::StrCat("libtorch: ", error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("libtorch: ", error.what()));
  }
}

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_TORCH_STATUS_H_
