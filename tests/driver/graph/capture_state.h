// What the calls that begin, look at and end captures share with the rules in capture.cpp. All need graph_mutex().
#pragma once
#include "tests/driver/graph/capture.h"

namespace lull::sim {

void open_capture(const std::shared_ptr<Capture>& capture);
void close_capture(const std::shared_ptr<Capture>& capture);  // every stream that takes part leaves it
// The legacy stream may not be used while a stream that it is ordered against captures; such captures are then invalid.
bool implicitly_captured(const Stream& stream);
void add_dependencies(Dependencies& to, const Dependencies& more);

CUstreamCaptureMode thread_capture_mode();  // of the calling thread
int calling_thread();

}  // namespace lull::sim
