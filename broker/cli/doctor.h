// broker/cli/doctor.h: lull doctor: what is as it should be on this machine, what is not, and what to do about it.
//
// A check is one function that looks at one thing and adds what it finds; to add one, write it and name it in the table
// in doctor.cpp. A check looks, and changes nothing.
#pragma once
#include <string>
#include <vector>

#include "broker/cli/show.h"

namespace lull::cli {

enum class Health { ok, warn, fail };

struct Finding {
  std::string name;  // of the check, for scripts
  Health health = Health::ok;
  std::string text;   // what was found
  std::string to_do;  // if it is not ok
  json figures = {};  // for scripts; null: none
};
using Findings = std::vector<Finding>;

// What every check may look at.
struct Patient {
  std::string runtime_dir;
  json status;            // the broker's; null: it does not answer
  std::string no_answer;  // then: why
};

// doctor_driver.cpp
void check_driver(const Patient&, Findings&);
void check_toolkit(const Patient&, Findings&);  // after the driver
void check_modes(const Patient&, Findings&);

// doctor_machine.cpp
void check_device_nodes(const Patient&, Findings&);
void check_library(const Patient&, Findings&);
void check_cgroups(const Patient&, Findings&);
void check_locked_memory(const Patient&, Findings&);

// doctor_broker.cpp
void check_broker(const Patient&, Findings&);
void check_sockets(const Patient&, Findings&);
void check_early_wake(const Patient&, Findings&);
void check_host_memory(const Patient&, Findings&);
void check_spill(const Patient&, Findings&);

// doctor_cards.cpp
void check_cards(const Patient&, Findings&);

// doctor_engine.cpp: Docker, podman, and how they are told of Lull
void check_engines(const Patient&, Findings&);
void check_device_links(const Patient&, Findings&);

// doctor_container.cpp: one container, as it runs now. `name` is Docker's or podman's.
void check_container(const Patient&, const std::string& name, Findings&);

// doctor_observe.cpp: runs a program with LULL=observe and prints what the library has seen of it. An exit code.
int observe(const std::vector<std::string>& command);

}  // namespace lull::cli
