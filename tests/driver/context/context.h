// Devices and contexts. A context is charged native memory while it is active; the primary context of a device keeps
// its handle for ever and comes to life with the first Retain.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/driver/card/card.h"
#include "tests/driver/context/limits.h"
#include "tests/driver/stream/event.h"
#include "tests/driver/stream/stream.h"

namespace lull::sim {

struct Device {
  int ordinal = 0;
  std::unique_ptr<Card> card;
  std::shared_ptr<Context> primary;
  std::mutex mutex;  // guards the two below
  unsigned retained = 0;
  unsigned primary_flags = 0;
};

std::vector<std::unique_ptr<Device>>& devices();
Device* device_of(CUdevice ordinal);  // null: no such device

class Context : public std::enable_shared_from_this<Context> {
 public:
  Context(Device& device, bool primary);

  CUresult activate(unsigned flags);  // charges the card
  void deactivate();                  // ends its work, frees its memory, modules and streams
  bool active() const;

  Device& device() const { return device_; }
  bool primary() const { return primary_; }
  std::uint64_t id() const { return id_; }
  std::shared_ptr<Life> life() const;
  CUresult error() const;  // 709 once destroyed, else the sticky one

  std::shared_ptr<Stream> default_stream();  // legacy, or this thread's in the per-thread flavours
  std::shared_ptr<Stream> legacy_stream();
  std::shared_ptr<Stream> thread_stream();
  std::shared_ptr<Stream> create_stream(Stream::Kind kind, int priority);
  void end_thread_stream(int tid);  // the thread has ended; what its stream still has to do is done
  void forget(const std::shared_ptr<Stream>& stream);
  std::vector<std::shared_ptr<Stream>> streams() const;
  CUresult synchronize();

  // cuCtxRecordEvent and WaitEvent: behind everything that its streams have been given; in front of all they will be.
  CUresult record(const EventPtr& event);
  CUresult await(std::shared_ptr<const AwaitOperation> event);

  std::mutex order;  // held while work on legacy or blocking streams takes its tickets
  unsigned flags = 0;
  Limits limits;
  std::atomic<unsigned> attached{1};  // cuCtxAttach and cuCtxDetach count
  std::atomic<CUfunc_cache> cache_config{CU_FUNC_CACHE_PREFER_NONE};

 private:
  std::shared_ptr<Stream> new_stream(Stream::Kind kind, int priority);  // locked
  void stop_work();
  void tell_leaks() const;

  Device& device_;
  const bool primary_;
  const std::uint64_t id_;
  mutable std::mutex mutex_;
  std::shared_ptr<Life> life_;
  bool active_ = false;
  std::shared_ptr<Stream> legacy_;
  std::map<int, std::shared_ptr<Stream>> of_threads_;
  std::vector<std::shared_ptr<Stream>> created_;
  std::shared_ptr<Stream> marker_;  // reaches the marks of record(); no stream of the program
  std::vector<std::shared_ptr<const AwaitOperation>> awaited_;  // that new streams wait for, too
};

// The calling thread's current context, usable; or why there is none.
struct Found {
  std::shared_ptr<Context> context;
  CUresult error = CUDA_SUCCESS;
  explicit operator bool() const { return error == CUDA_SUCCESS; }
  Context* operator->() const { return context.get(); }
  Context& operator*() const { return *context; }
};
Found current_context();
CUcontext current_handle();  // as set, whether or not it still lives

// The stream a handle means in the current call: 0, 1 and 2 are the default streams of the current context.
struct FoundStream {
  std::shared_ptr<Stream> stream;
  CUresult error = CUDA_SUCCESS;
  explicit operator bool() const { return error == CUDA_SUCCESS; }
  Stream* operator->() const { return stream.get(); }
  Stream& operator*() const { return *stream; }
};
FoundStream find_stream(CUstream handle);

inline CUcontext handle_of(const Context* context) {
  return reinterpret_cast<CUcontext>(const_cast<Context*>(context));
}
inline CUstream handle_of(const Stream* stream) { return reinterpret_cast<CUstream>(const_cast<Stream*>(stream)); }

}  // namespace lull::sim
