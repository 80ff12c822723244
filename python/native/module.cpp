// yopo._native: the functions of include/yopo/ under their own names, for python/yopo/toolkit.py, which says what they
// do.
#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <yopo/inspect.h>
#include <yopo/yopo.h>

#include <tuple>

#include "python/native/call.h"
#include "python/native/parts.h"

namespace yopo_python {
namespace {

using nb::literals::operator""_a;
using Path = std::filesystem::path;
using Words = std::vector<std::string>;

std::int64_t calibrate(Path model, Path questions, Path images, Path output, std::string format, std::int64_t samples,
                       std::uint64_t seed, std::string queries, std::string dtype, std::string chat_template,
                       int threads, std::int64_t memory, nb::object listener) {
  return Call(std::move(listener)).run([&](yopo::Stop stop) {
    return yopo::calibrate({model, questions, images, output, format, samples, seed, queries, dtype, chat_template,
                            threads, memory, std::move(stop)});
  });
}

void plan(Path model, Path statistics, Path output, Words keep, nb::object listener) {
  Call(std::move(listener)).run([&](yopo::Stop stop) {
    return yopo::plan({model, statistics, output, keep, std::move(stop)});
  });
}

void search_plan(Path model, Path statistics, Path questions, Path images, Path output, std::string format,
                 std::uint64_t seed, std::string device, std::string dtype, std::string chat_template, int threads,
                 std::int64_t memory, Words options, nb::object listener) {
  Call(std::move(listener)).run([&](yopo::Stop stop) {
    return yopo::search_plan({model, statistics, questions, images, output, format, seed, device, dtype, chat_template,
                              threads, memory, options, std::move(stop)});
  });
}

std::pair<Path, Path> plan_of_recipe(Path recipe, Words overrides, Path statistics, Path output, int threads,
                                     std::int64_t memory, nb::object listener) {
  yopo::RecipePlan made = Call(std::move(listener)).run([&](yopo::Stop stop) {
    return yopo::plan_of_recipe({recipe, overrides, statistics, output, threads, memory, std::move(stop)});
  });
  return {std::move(made.plan), std::move(made.model)};
}

using Exported = std::tuple<Words, Words, std::vector<std::pair<std::string, std::string>>>;
Exported export_pruned(Path model, Path plan, Path output, std::uint64_t shard_size, bool transformers_code,
                       nb::object listener) {
  yopo::ExportReport report = Call(std::move(listener)).run([&](yopo::Stop stop) {
    return yopo::export_pruned({model, plan, output, shard_size, transformers_code, std::move(stop)});
  });
  return {std::move(report.copied), std::move(report.derived), std::move(report.left_out)};
}

std::vector<std::tuple<std::string, std::string, std::string, std::string>> plan_options() {
  std::vector<std::tuple<std::string, std::string, std::string, std::string>> all;
  for (yopo::PlanOptionInfo& one : yopo::plan_options())
    all.emplace_back(std::move(one.key), std::move(one.flag), std::move(one.fallback), std::move(one.help));
  return all;
}

/// The library's errors as yopo.Error, which `payload` is.
void translate(const std::exception_ptr& thrown, void* payload) {
  try {
    std::rethrow_exception(thrown);
  } catch (const yopo::Stopped&) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
  } catch (const yopo::Error& error) {
    PyErr_SetString(static_cast<PyObject*>(payload), error.what());
  }
}

}  // namespace
}  // namespace yopo_python

NB_MODULE(_native, module) {
  using namespace yopo_python;
  nb::object error = nb::module_::import_("yopo.errors").attr("Error");
  nb::register_exception_translator(translate, error.release().ptr());
  listen();
  module.def("version", &yopo::version);
  module.def("calibrate", &calibrate, "model"_a, "questions"_a, "images"_a, "output"_a, "format"_a, "samples"_a,
             "seed"_a, "queries"_a, "dtype"_a, "chat_template"_a, "threads"_a, "memory"_a, "listener"_a.none());
  module.def("plan", &plan, "model"_a, "statistics"_a, "output"_a, "keep"_a, "listener"_a.none());
  module.def("search_plan", &search_plan, "model"_a, "statistics"_a, "questions"_a, "images"_a, "output"_a, "format"_a,
             "seed"_a, "device"_a, "dtype"_a, "chat_template"_a, "threads"_a, "memory"_a, "options"_a,
             "listener"_a.none());
  module.def("plan_of_recipe", &plan_of_recipe, "recipe"_a, "overrides"_a, "statistics"_a, "output"_a, "threads"_a,
             "memory"_a, "listener"_a.none());
  module.def("export_pruned", &export_pruned, "model"_a, "plan"_a, "output"_a, "shard_size"_a, "transformers_code"_a,
             "listener"_a.none());
  module.def("plan_report", &yopo::plan_report, "plan"_a, "model"_a, nb::call_guard<nb::gil_scoped_release>());
  module.def("plan_report_text", &yopo::plan_report_text, "plan"_a, "model"_a,
             nb::call_guard<nb::gil_scoped_release>());
  module.def("copy_plan", &yopo::copy_plan, "source"_a, "target"_a, nb::call_guard<nb::gil_scoped_release>());
  module.def("plan_options", &plan_options);
  module.def("parse_bytes", &yopo::parse_bytes, "size"_a);
  add_statistics(module);
}
