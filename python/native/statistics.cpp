#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <yopo/inspect.h>

#include <memory>

#include "python/native/parts.h"

namespace yopo_python {
namespace {

namespace nb = nanobind;
using yopo::StatisticsFile;

template <typename Value>
using Array = nb::ndarray<nb::numpy, const Value>;

/// The file's own memory, read-only; it lives as long as an array of it.
template <typename Value>
Array<Value> view(nb::handle owner, const std::vector<Value>& values, std::initializer_list<size_t> shape) {
  return Array<Value>(values.data(), shape, owner);
}

Array<double> own(std::vector<double> values, std::initializer_list<size_t> shape) {
  auto held = std::make_unique<std::vector<double>>(std::move(values));
  const double* data = held->data();
  nb::capsule owner(held.release(), [](void* made) noexcept { delete static_cast<std::vector<double>*>(made); });
  return Array<double>(data, shape, owner);
}

}  // namespace

void add_statistics(nb::module_& module) {
  using Numbers = const std::vector<double>& (StatisticsFile::*)() const;
  nb::class_<StatisticsFile> type(module, "StatisticsFile");
  type.def(nb::init<const std::filesystem::path&>(), nb::arg("file"), nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("layers", &StatisticsFile::layers)
      .def_prop_ro("heads", &StatisticsFile::heads)
      .def_prop_ro("neurons", &StatisticsFile::neurons)
      .def_prop_ro("samples", &StatisticsFile::samples)
      .def_prop_ro("queries", &StatisticsFile::queries)
      .def_prop_ro("fingerprint", &StatisticsFile::fingerprint)
      .def_prop_ro("missing_parts", &StatisticsFile::missing_parts)
      .def_prop_ro("ids", &StatisticsFile::ids)
      .def("ratio",
           [](nb::handle self) {
             const auto& file = nb::cast<const StatisticsFile&>(self);
             return view(self, file.ratio(), {size_t(file.samples()), size_t(file.layers()), size_t(file.heads())});
           })
      .def("mean_ratio",
           [](const StatisticsFile& file) {
             return own(file.mean_ratio(), {size_t(file.layers()), size_t(file.heads())});
           })
      .def("rows",
           [](nb::handle self) {
             const auto& file = nb::cast<const StatisticsFile&>(self);
             return view(self, file.rows(), {size_t(file.layers())});
           })
      .def(
          "neuron_scores",
          [](const StatisticsFile& file, const std::string& score) {
            return own(file.neuron_scores(score), {size_t(file.layers()), size_t(file.neurons())});
          },
          nb::arg("score"));
  const auto by_neuron = [&](const char* name, Numbers numbers) {
    type.def(name, [numbers](nb::handle self) {
      const auto& file = nb::cast<const StatisticsFile&>(self);
      return view(self, (file.*numbers)(), {size_t(file.layers()), size_t(file.neurons())});
    });
  };
  by_neuron("abs_sum", &StatisticsFile::abs_sum);
  by_neuron("square_sum", &StatisticsFile::square_sum);
  by_neuron("active", &StatisticsFile::active);
  by_neuron("column_norm", &StatisticsFile::column_norm);
}

}  // namespace yopo_python
