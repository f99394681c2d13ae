// broker/runtime_dir.h: what lies in /run/lull. Class is what a client can reach, so modes are the access control.
//
//   /run/lull/                      0755   locked by the one live broker
//     training/                     0755   open to all
//     interactive/  inference/      0750   root:lull; without that group or without root 0700
//       socket/                     0755   what a container mounts at /run/lull
//         broker                    0666   seqpacket socket; who got this far may use it
//         soon                      0666   datagram socket: a request is about to come (soon.h); not for training
//         class                            "inference"
//         gpus                             a line for each GPU: "GPU-<uuid> <total bytes> <chunk bytes>"
//     control                       0660   root:lull; stream socket for lull(1)
//
// Directories outlive the broker: a container that has one mounted would never see a new one.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "broker/policy.h"
#include "broker/uuid.h"
#include "protocol/fd.h"

namespace lull {

struct PromisedCard {
  Uuid uuid;
  policy::Bytes total, chunk;
};

struct ClassSocket {
  Class klass;
  Fd listener;
};

struct RuntimeDir {
  std::string path;
  Fd lock;
  std::array<ClassSocket, 3> classes;
  std::vector<ClassSocket> soon;  // of the classes that have requests
  Fd control;
  std::vector<std::string> notes;  // what is not as it should be, for the log
};

struct RuntimeDirProblem {
  std::string text;  // what was tried, why it failed, what to do
};
using RuntimeDirResult = std::variant<RuntimeDir, RuntimeDirProblem>;

RuntimeDirResult open_runtime_dir(const std::string& path, const std::vector<PromisedCard>& cards);

std::string socket_path(const std::string& runtime_dir, Class);

}  // namespace lull
