// The parts of the module, a file each.
#pragma once

#include <nanobind/nanobind.h>

namespace yopo_python {

void add_statistics(nanobind::module_& module);

}  // namespace yopo_python
