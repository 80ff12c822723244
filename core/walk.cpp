#include "core/walk.h"

#include <algorithm>

#include "core/interrupt.h"
#include "core/progress.h"

namespace yopo {

void Walk::step() {
  ++done_;
  check_interrupt();
  if (!listener_) return;
  told_ = std::max(told_, double(done_) / double(std::max(expected_, done_)));
  listener_(told_);
}

}  // namespace yopo
