// broker/cli/doctor_cards.cpp: what was measured of each card, and whether switches take what it promises.
#include <fmt/format.h>

#include "broker/cli/doctor.h"

namespace lull::cli {
namespace {

std::string rate(std::uint64_t n) { return fmt::format("{:.1f} GB/s", static_cast<double>(n) / 1e9); }
std::string us(std::uint64_t ns) { return fmt::format("{:.0f} us", static_cast<double>(ns) / 1e3); }

std::string link_of(const json& s) {
  return fmt::format("link out {}, in {}, both at once {} and {}; full speed from pieces of {} KiB",
                     rate(number(s, "to_host")), rate(number(s, "to_device")), rate(number(s, "to_host_both")),
                     rate(number(s, "to_device_both")), number(s, "knee") >> 10);
}

std::string costs_of(const json& s) {
  std::string text;
  for (const auto& c : part(s, "calls"))
    text += fmt::format("{}chunk of {}: map {}, unmap {}", text.empty() ? "" : "; ", bytes(number(c, "chunk")),
                        us(number(c, "make_ns")), us(number(c, "drop_ns")));
  return text + fmt::format("; page-locking 1 GiB {:.0f} ms", static_cast<double>(number(s, "register_gib_ns")) / 1e6);
}

// Chunks that leave without a copy make a switch quicker than predicted; that is no fault.
void check_prediction(const std::string& name, const json& gpu, Findings& findings) {
  constexpr double much = 1.5;
  constexpr std::uint64_t some = 3;
  const auto& p = part(gpu, "prediction");
  const auto predicted = number(p, "predicted_ns"), moved = number(p, "moved_ns"), switches = number(p, "switches");
  if (switches == 0 || predicted == 0)
    return findings.push_back({name, Health::ok, "no switch has moved memory yet: nothing to compare with", ""});
  const double ratio = static_cast<double>(moved) / static_cast<double>(predicted);
  const auto text = fmt::format("{} switches took {:.2f} of what was predicted", switches, ratio);
  const bool slow = switches >= some && ratio > much;
  findings.push_back({name, slow ? Health::warn : Health::ok, text,
                      slow ? "other programs use the link, the card has left its PCIe generation (nvidia-smi -q), or "
                             "remove card-UUID.json from the state directory to have it measured again"
                           : "",
                      p});
}

}  // namespace

void check_cards(const Patient& patient, Findings& findings) {
  if (patient.status.is_null()) return;
  for (const auto& gpu : part(patient.status, "gpus")) {
    const auto name = fmt::format("gpu {}", number(gpu, "gpu"));
    const auto& speed = part(gpu, "speed");
    findings.push_back({name, Health::ok,
                        fmt::format("{} {}, other programs hold {}", text(gpu, "uuid"), bytes(number(gpu, "memory")),
                                    bytes(number(gpu, "foreign"))),
                        ""});
    if (speed.empty()) {
      findings.push_back({name, Health::warn, text(gpu, "measured"),
                          "give lulld a --state-dir and leave the card idle for some seconds; switches are not "
                          "predicted until then"});
    } else {
      findings.push_back({name, Health::ok, link_of(speed), "", speed});
      findings.push_back({name, Health::ok, costs_of(speed), ""});
    }
    check_prediction(name, gpu, findings);
  }
}

}  // namespace lull::cli
