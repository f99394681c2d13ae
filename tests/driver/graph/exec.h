// Executable graphs: a private copy of a graph, changed by updates, launched any number of times. A launch is one
// piece of work of its stream, towards the stream; inside, what does not depend on each other runs side by side.
#pragma once
#include <memory>
#include <mutex>

#include "tests/driver/graph/graph.h"
#include "tests/driver/stream/stream.h"

namespace lull::sim {

// Native memory of a card for as long as this lives.
class NativeCharge {
 public:
  static std::unique_ptr<NativeCharge> take(Device& device, std::size_t bytes);  // null: the card is full
  ~NativeCharge();
  NativeCharge(const NativeCharge&) = delete;
  NativeCharge& operator=(const NativeCharge&) = delete;

 private:
  NativeCharge(Device& device, std::size_t bytes) : device_(device), bytes_(bytes) {}
  Device& device_;
  std::size_t bytes_;
};

struct GraphExec {
  std::shared_ptr<Graph> graph;  // guarded by graph_mutex()
  std::weak_ptr<Graph> made_of;  // the program's graph
  unsigned long long flags = 0;
  std::weak_ptr<Context> context;  // that was charged
  std::unique_ptr<NativeCharge> charge;
  std::mutex order;  // held while a launch takes its place: one runs at a time
  Ticket last;       // launch
};

// What goes into a stream for one launch. It keeps what it was made of: later updates do not touch it.
CUresult make_launch(const std::shared_ptr<GraphExec>& exec, OperationPtr& out);
CUresult launch_graph(const std::shared_ptr<GraphExec>& exec, Stream& stream);

void drop_graphs_of(Context& context);  // gives back what its executable graphs were charged

}  // namespace lull::sim
