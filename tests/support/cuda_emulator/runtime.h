// What the parts of the emulated CUDA runtime share. All state is behind one lock that is held while work runs, so that
// blocks of different host threads never overlap.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/cuda_emulator/block.h"
#include "tests/support/cuda_emulator/machine.h"

namespace shim {

using Guard = std::lock_guard<std::recursive_mutex>;
std::recursive_mutex& api_lock();

/// Makes `error` the calling thread's last error, with what was wrong, and returns it.
cudaError_t fail(cudaError_t error, const std::string& what);

/// Success where there is a driver and a device to work with.
cudaError_t usable();

/// The calling thread's device. All devices share one memory; streams belong to the device that they were made on.
int current_device();

/// Objects that the program has made and not destroyed.
template <typename T>
class Handles {
 public:
  T* add(std::unique_ptr<T> object) { return objects_.insert(std::move(object)).first->get(); }
  bool has(const T* object) const { return objects_.find(object) != objects_.end(); }
  /// False if there is no such object.
  bool remove(const T* object) {
    const auto found = objects_.find(object);
    if (found == objects_.end()) return false;
    objects_.erase(found);
    return true;
  }
  size_t size() const { return objects_.size(); }
  auto begin() const { return objects_.begin(); }
  auto end() const { return objects_.end(); }

 private:
  struct Less {
    using is_transparent = void;
    static const T* address(const T* p) { return p; }
    static const T* address(const std::unique_ptr<T>& p) { return p.get(); }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return std::less<const T*>()(address(a), address(b));
    }
  };
  std::set<std::unique_ptr<T>, Less> objects_;
};
size_t live_streams();
size_t live_events();
size_t live_graphs();
size_t live_blas_objects();

using Task = std::function<void()>;

/// What a stream will do when somebody waits for it.
struct Work {
  Task run;
  bool always = false;  // also after a failure of what came before it in its stream: frees, events
};

struct Capture {
  unsigned long long id;  // from 1
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  std::vector<Task> nodes;
  bool valid = true;
};

/// The point in a stream that an event stands for.
struct Marker {
  cudaStream_t stream = nullptr;
  bool passed = false;
  std::chrono::steady_clock::time_point when;
};

// memory.cpp

enum class Place { pageable, pinned, device };
Place place_of(const void* pointer);
/// What is wrong with using `bytes` bytes at a pointer into device or pinned memory; "" if nothing is.
std::string range_error(const void* pointer, size_t bytes, bool running = false);
size_t live_allocation_count();
size_t live_device_bytes();

// streams.cpp

/// Puts work into a stream, or into the graph that the stream is being captured into. May run earlier work, and throw
/// what that throws or what an earlier failure left; work marked `always` is put there all the same.
cudaError_t enqueue(cudaStream_t stream, Work work);
cudaError_t check_stream(cudaStream_t stream);
cudaError_t unknown_stream();
/// Null for a stream that does not exist.
CUstream_st* resolve(cudaStream_t stream);
bool legacy(const CUstream_st& stream);
/// Runs the oldest work of a stream. After a failure only frees and events of the stream are still done.
void run_oldest(CUstream_st& stream);
/// Throws the failure that is kept, if there is one.
void rethrow_failure();
/// Runs what is in a stream. Throws the first failure, after which the rest of the stream is dropped.
void drain(cudaStream_t stream);
void drain_all();
/// Makes the affected captures void; success if there are none.
cudaError_t break_captures(const char* call, const std::function<bool(const CUstream_st&)>& affected);
/// Success unless calls that could break a capture are forbidden just now: then the capture is void.
cudaError_t refuse_in_capture(const char* call);
/// Makes captures of a stream void.
cudaError_t refuse_in_capture_of(cudaStream_t stream, const char* call);
/// Runs `action`; a failure of earlier work is kept for the next call that can throw. For calls made by destructors.
cudaError_t settle(const std::function<cudaError_t()>& action);
void forget_failure();

}  // namespace shim

inline namespace cuda_shim_api {

struct CUstream_st {
  unsigned flags = 0;
  int device = 0;
  std::deque<shim::Work> queue;
  std::unique_ptr<shim::Capture> capture;
};
struct CUevent_st {
  unsigned flags = 0;
  std::shared_ptr<shim::Marker> marker;  // null: never recorded
  unsigned long long captured = 0;       // recorded in the capture of this id, which may be over
};
struct CUgraph_st {
  std::shared_ptr<const std::vector<shim::Task>> nodes;
};
struct CUgraphExec_st {
  std::shared_ptr<const std::vector<shim::Task>> nodes;
};

}  // namespace cuda_shim_api
