// What crosses from our code into a caller's: exceptions under their public names.
#pragma once

#include <filesystem>
#include <utility>

#include "core/error.h"
#include "yopo/runtime.h"

namespace yopo::library {

/// A caller's exception on its way through our code, which must not be taken for one of ours.
struct FromCallback {
  std::exception_ptr error;
};

/// Calls `act` for a function of the public headers.
template <typename Act>
auto at_boundary(Act&& act) -> decltype(act()) {
  try {
    return std::forward<Act>(act)();
  } catch (const FromCallback& callback) {
    std::rethrow_exception(callback.error);
  } catch (const UserError& error) {
    throw Error(error.what());
  } catch (const Interrupted& error) {
    throw Stopped(error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    throw Error(error.what());
  }
}

}  // namespace yopo::library
