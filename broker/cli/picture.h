// broker/cli/picture.h: a story as a picture: a lane for each tenant (what it was doing), the phases of a switch, and
// the card's memory, stacked by tenant; one scale of time below all of it.
#pragma once
#include <string>

#include "broker/cli/story.h"

namespace lull::cli {

struct Window {
  Nanoseconds from, to;
  const SwitchStory* about = nullptr;  // the picture is of this switch: its phases are drawn, times count from `seen`
};

// From a little before its request until whoever had to go is back, if that is known.
Window window_of(const CardStory&, const SwitchStory&, Nanoseconds end);

std::string picture_of(const CardStory&, const Window&);

}  // namespace lull::cli
