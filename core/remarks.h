// What is worth saying about a file from outside that is read, but maybe not as its writer meant it.
#pragma once

#include <string>

namespace yopo {

/// One warning (core/progress.h), the same one only once in a process; with set_strict a UserError instead. From any
/// thread.
void remark(const std::string& line);

/// Whether remarks are errors (`--strict`); off at the start. For all threads.
void set_strict(bool strict);

}  // namespace yopo
