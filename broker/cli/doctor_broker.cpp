// broker/cli/doctor_broker.cpp: the broker, its sockets, and the host's memory.
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "broker/cli/doctor.h"
#include "protocol/words.h"

namespace lull::cli {
namespace {

// What is wrong with one thing in the runtime directory; "": nothing.
std::string wrong_with(const std::string& path, mode_t kind, mode_t expected) {
  struct stat s;
  if (::lstat(path.c_str(), &s) != 0) return fmt::format("{}: {}", path, std::strerror(errno));
  if ((s.st_mode & S_IFMT) != kind) return path + " is not what it should be";
  const mode_t mode = s.st_mode & 07777;
  if (mode == expected) return {};
  return fmt::format("{} has mode {:04o}, not {:04o}", path, mode, expected);
}

bool is_closed(const std::string& path) {  // no group "lull" when lulld started
  struct stat s;
  return ::lstat(path.c_str(), &s) == 0 && (s.st_mode & 0777) == 0700;
}

std::string wrong_with_class(const std::string& runtime_dir, Class klass) {
  const auto outer = runtime_dir + "/" + name_of(klass), inner = outer + "/socket";
  const mode_t mode = klass == Class::training ? 0755 : is_closed(outer) ? 0700 : 0750;
  if (auto wrong = wrong_with(outer, S_IFDIR, mode); !wrong.empty()) return wrong;
  if (auto wrong = wrong_with(inner, S_IFDIR, 0755); !wrong.empty())
    return errno == EACCES ? std::string() : wrong;  // closed to us, as it should be
  return wrong_with(inner + "/broker", S_IFSOCK, 0666);
}

std::string rights(const json& status) {
  std::string kept;
  for (const auto& right : part(status, "rights"))
    if (right.is_string()) kept += (kept.empty() ? "" : ", ") + right.get<std::string>();
  return kept.empty() ? "without rights of root" : "of root's rights has kept " + kept;
}

}  // namespace

void check_broker(const Patient& patient, Findings& findings) {
  if (patient.status.is_null())
    return findings.push_back({"broker", Health::fail, patient.no_answer, "see above, and journalctl -u lulld"});
  const auto version = text(patient.status, "version");
  const auto about = fmt::format("lulld {}, pid {}, up {}, {}", version, number(patient.status, "pid"),
                                 time(number(patient.status, "uptime_ns")), rights(patient.status));
  if (version != LULL_VERSION)
    return findings.push_back({"broker", Health::warn, about + "; this is lull " LULL_VERSION,
                               "install both of one version, then systemctl restart lulld"});
  findings.push_back({"broker", Health::ok, about, ""});
}

void check_sockets(const Patient& patient, Findings& findings) {
  if (patient.status.is_null()) return;
  for (const Class klass : all_classes)
    if (auto wrong = wrong_with_class(patient.runtime_dir, klass); !wrong.empty())
      return findings.push_back({"sockets", Health::fail, wrong, "systemctl restart lulld puts its directory right"});
  if (is_closed(patient.runtime_dir + "/" + name_of(Class::inference)))
    return findings.push_back({"sockets", Health::warn, "interactive and inference are for one user alone",
                               "groupadd --system lull, then systemctl restart lulld"});
  findings.push_back(
      {"sockets", Health::ok, fmt::format("in {}, of {} classes", patient.runtime_dir, std::size(all_classes)), ""});
}

void check_early_wake(const Patient& patient, Findings& findings) {
  if (patient.status.is_null()) return;
  std::string notes;
  for (const auto& note : part(patient.status, "notes"))
    if (note.is_string()) notes += (notes.empty() ? "" : "; ") + note.get<std::string>();
  const bool on = patient.status.value("early_wake", false);
  if (on && notes.empty())
    return findings.push_back(
        {"early wake", Health::ok, "the kernel tells of requests before the service reads them", ""});
  findings.push_back(
      {"early wake", Health::warn, notes.empty() ? "off" : notes,
       on ? "it works in part; the sentence says what is missing"
          : "give lulld CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; without, requests are seen when they wait"});
}

void check_host_memory(const Patient& patient, Findings& findings) {
  if (patient.status.is_null()) return;
  const auto& host = part(patient.status, "host");
  const auto budget = number(host, "budget"), held = number(host, "held");
  const auto about = fmt::format("{} of {} held for evicted data, {} available on the machine", bytes(held),
                                 bytes(budget), bytes(number(host, "available")));
  const json figures = {{"budget", budget}, {"held", held}, {"available", number(host, "available")}};
  if (const auto pressure = text(host, "pressure"); pressure != "none")
    return findings.push_back({"host memory", Health::warn, fmt::format("pressure {}: {}", pressure, about),
                               "free memory, or lower host_memory; or name a disk: spill_path", figures});
  if (budget == 0)
    return findings.push_back({"host memory", Health::warn, "none for evicted data: " + about,
                               "raise host_memory, or lower host_memory_keep_free", figures});
  findings.push_back({"host memory", Health::ok, about, "", figures});
}

void check_spill(const Patient& patient, Findings& findings) {
  if (patient.status.is_null()) return;
  const auto& spill = part(part(patient.status, "host"), "spill");
  if (spill.empty())
    return findings.push_back(
        {"spill", Health::ok, "off: no spill_path; what does not fit in host memory is refused", ""});
  const auto error = spill.value("error", json(nullptr));
  const auto said = error.is_string() ? error.get<std::string>() : "";
  if (!spill.value("on", false))
    return findings.push_back({"spill", Health::fail, said, "correct spill_path, then systemctl restart lulld", spill});
  const auto about = fmt::format("{} of {} in {}, {} of {} of what changes written today{}",
                                 bytes(number(spill, "stored")), bytes(number(spill, "capacity")), text(spill, "path"),
                                 bytes(number(spill, "written_today")), bytes(number(spill, "daily_write_bytes")),
                                 spill.value("direct", true) ? "" : "; through the page cache");
  if (number(spill, "lost") > 0)
    return findings.push_back({"spill", Health::fail, fmt::format("data could not be read again: {}; {}", said, about),
                               "look at the disk (dmesg, smartctl); what is lost is read again when it is needed",
                               spill});
  if (number(spill, "failures") > 0)
    return findings.push_back({"spill", Health::warn, fmt::format("has failed: {}; {}", said, about),
                               "nothing is lost: what cannot be written stays in memory", spill});
  findings.push_back({"spill", Health::ok, about, "", spill});
}

}  // namespace lull::cli
