#include "core/progress.h"
#include "core/version.h"
#include "yopo/runtime.h"

namespace yopo {
inline namespace v0 {

std::string version() { return std::string(tool_version); }

void set_listener(Listener listener) {
  ProgressSink sink{std::move(listener.note), std::move(listener.warning), {}};
  if (listener.progress)
    sink.progress = [progress = std::move(listener.progress)](const ProgressReport& report) {
      progress({report.what, report.unit, report.done, report.total, report.seconds, report.finished});
    };
  set_progress_sink(std::move(sink));
}

}  // namespace v0
}  // namespace yopo
