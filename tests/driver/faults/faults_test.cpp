#include "tests/driver/faults/request.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim;
using namespace lull::sim::test;

namespace {

std::string problem_of(const char* text) {
  Request request;
  std::string problem;
  CHECK_FALSE_MESSAGE(parse_request(text, request, problem), text);
  return problem;
}

Request parsed(const char* text) {
  Request request;
  std::string problem;
  CHECK_MESSAGE(parse_request(text, request, problem), text, ": ", problem);
  return request;
}

struct Answer {
  int status;
  std::string text;
};
Answer ask(const std::string& socket, const std::string& requests) {
  std::FILE* pipe = ::popen((LULL_SIM_CONTROL " " + socket + " " + requests + " 2>&1").c_str(), "r");
  REQUIRE(pipe);
  Answer answer{0, ""};
  char part[1024];
  while (const std::size_t n = std::fread(part, 1, sizeof part, pipe)) answer.text.append(part, n);
  answer.status = WEXITSTATUS(::pclose(pipe));
  return answer;
}

std::string socket_name() {
  static int last = 0;
  return "@lull-sim-test-" + std::to_string(::getpid()) + "-" + std::to_string(++last);
}

void say(const char* text) {
  std::printf("%s\n", text);
  std::fflush(stdout);
}

// Creates and releases memory when told to, and tells the answers of cuMemCreate, until told to stop.
ChildRole creator("fault-creator", [] {
  OK(cuInit(0));
  const TestContext context;
  say("ready");
  const auto prop = device_memory();
  for (char line[8]; std::fgets(line, sizeof line, stdin) && line[0] != 'q';) {
    CUmemGenericAllocationHandle handle = 0;
    const CUresult result = cuMemCreate(&handle, granule, &prop, 0);
    if (result == CUDA_SUCCESS) OK(cuMemRelease(handle));
    std::printf("%d\n", static_cast<int>(result));
    std::fflush(stdout);
  }
  return 0;
});

// Copies eight bytes in and out three times and tells which came back as they were.
ChildRole copier("fault-copier", [] {
  OK(cuInit(0));
  const TestContext context;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 8));
  std::string same;
  for (int i = 0; i < 3; ++i) {
    const std::uint64_t sent = 0x0123456789abcdefu;
    std::uint64_t back = 0;
    OK(cuMemcpyHtoD_v2(d, &sent, 8));
    OK(cuMemcpyDtoH_v2(&back, d, 8));
    same += back == sent ? "same " : "wrong ";
  }
  say(same.c_str());
  return 0;
});

// Two streams that fill memory; says when each has nothing left to do.
ChildRole hanger("fault-hanger", [] {
  OK(cuInit(0));
  const TestContext context;
  CUdeviceptr d = 0;
  CUstream streams[2] = {};
  unsigned long long id = 0;
  OK(cuMemAlloc_v2(&d, 64));
  for (CUstream& stream : streams) OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  OK(cuStreamGetId(streams[0], &id));
  std::printf("%llu\n", id);
  std::fflush(stdout);
  (void)std::getchar();
  for (CUstream& stream : streams) OK(cuMemsetD8Async(d, 1, 64, stream));
  OK(cuStreamSynchronize(streams[1]));
  say(cuStreamQuery(streams[0]) == CUDA_ERROR_NOT_READY ? "first hangs" : "first is through");
  OK(cuStreamSynchronize(streams[0]));
  say("both are through");
  (void)std::getchar();  // the end of the process would take the answer of its control socket with it
  return 0;
});

ChildRole hang_and_end("fault-hang-and-end", [] {
  OK(cuInit(0));
  CUcontext context = nullptr;
  CUdeviceptr d = 0;
  OK(cuCtxCreate_v2(&context, 0, 0));
  OK(cuMemAlloc_v2(&d, 64));
  OK(cuMemsetD8Async(d, 1, 64, nullptr));
  return cuCtxDestroy_v2(context) == CUDA_SUCCESS ? 0 : 2;  // with work that never ends
});

ChildRole closer("fault-closer", [] {
  OK(cuInit(0));
  ::close_range(3, ~0u, 0);
  say("closed");
  (void)std::getchar();
  CUcontext context = nullptr;
  return cuCtxCreate_v2(&context, 0, 0) == CUDA_ERROR_OUT_OF_MEMORY ? 0 : 2;
});

ChildRole free_now("fault-free", [] {
  OK(cuInit(0));
  const TestContext context;
  std::printf("%zu\n", free_bytes());
  std::fflush(stdout);
  (void)std::getchar();
  return 0;
});

}  // namespace

TEST_CASE("requests for faults are read as documented") {
  const Request fail = parsed("cuMemCreate:3=2");
  CHECK_EQ(fail.what, Request::What::fail);
  CHECK_EQ(fail.error, 2);
  CHECK(fail.occasion.is(3));
  CHECK_FALSE(fail.occasion.is(4));
  CHECK_EQ(parsed(" cuMemMap : 1+ = CUDA_ERROR_UNKNOWN ").error, 999);
  CHECK(parsed("cuMemMap:2+=999").occasion.is(7));
  CHECK(parsed("cuMemMap:*=999").occasion.is(1));
  CHECK_EQ(parsed("cuLaunchKernel:1=delay 1.5ms").delay_ns, 1'500'000);
  CHECK_EQ(parsed("cuLaunchKernel:1=kill").what, Request::What::kill);
  CHECK_EQ(parsed("corrupt d2h:4").way, "d2h");
  CHECK_EQ(parsed("shrink 64MiB 1").bytes, 64 * MiB);
  CHECK_EQ(parsed("hang any").stream, 0);
  CHECK_EQ(parsed("release 12").stream, 12);
  CHECK_EQ(parsed("clear").what, Request::What::clear);
}

TEST_CASE("a request that makes no sense is answered with what is expected") {
  CHECK_NE(problem_of("break everything").find("expected FUNCTION:WHEN=ACTION"), std::string::npos);
  CHECK_EQ(problem_of("malloc:1=2"), "'malloc': expected an exported function such as cuMemCreate");
  CHECK_EQ(problem_of("cuMemMap:0=2"), "'0': expected N, N+ or *, counting calls from 1");
  CHECK_EQ(problem_of("cuMemMap:-1=2"), "'-1': expected N, N+ or *, counting calls from 1");
  CHECK_EQ(problem_of("cuMemMap:1=0"), "'0': expected the number or name of an error, delay TIME, or kill");
  CHECK_EQ(problem_of("cuMemMap:1=CUDA_ERROR_TIRED"),
           "'CUDA_ERROR_TIRED': expected the number or name of an error, delay TIME, or kill");
  CHECK_EQ(problem_of("cuMemMap:1=delay soon"), "'soon': expected a time of at most an hour such as 10ms");
  CHECK_EQ(problem_of("corrupt everything"), "'everything': expected h2d, d2h or d2d, and when, such as d2h:3");
  CHECK_EQ(problem_of("shrink 12"), "'12': expected a size such as 256MiB, or 0");
  CHECK_EQ(problem_of("shrink 1MiB x"), "'x': expected the number of a card");
  CHECK_EQ(problem_of("hang 0"), "'0': expected the number of a stream, from 1, or any");
  std::vector<Request> requests;
  std::string problem;
  CHECK(parse_requests("cuMemCreate:3=2;;cuMemMap:1+=999\n", requests, problem));
  CHECK_EQ(requests.size(), 2);
  CHECK_FALSE(parse_requests("cuMemCreate:3=2;cuMemMap", requests, problem));
}

TEST_CASE("a fault of the environment that cannot be is said at cuInit, which then fails") {
  CHECK_EQ(WEXITSTATUS(Child("fault-free", {"LULL_SIM_FAULTS=cuMemAlloc_v9:1=2"}).wait()), 9);
  CHECK_EQ(WEXITSTATUS(Child("fault-free", {"LULL_SIM_FAULTS=shrink 1GiB"}).wait()), 9);
  CHECK_EQ(WEXITSTATUS(Child("fault-free", {"LULL_SIM_CONTROL=/nowhere/at/all"}).wait()), 9);
}

TEST_CASE("a call fails, is late or ends the process, as the control socket is told") {
  const std::string socket = socket_name();
  Child child("fault-creator", {"LULL_SIM_CONTROL=" + socket});
  REQUIRE_EQ(child.line(), "ready");
  const auto create_once = [&] {
    child.release();
    return child.line();
  };
  CHECK_EQ(create_once(), "0");
  CHECK_EQ(ask(socket, "cuMemCreate:2=CUDA_ERROR_OUT_OF_MEMORY").text, "ok\n");
  CHECK_EQ(create_once(), "0");
  CHECK_EQ(create_once(), "2");
  CHECK_EQ(create_once(), "0");
  CHECK_EQ(ask(socket, "'cuMemCreate:*=3'").text, "ok\n");
  CHECK_EQ(create_once(), "3");
  CHECK_EQ(create_once(), "3");
  CHECK_EQ(ask(socket, "clear 'cuMemCreate:1=delay 30ms'").text, "ok\nok\n");
  CHECK_EQ(create_once(), "0");
  std::uint64_t longest_ns = 0;
  for (const Record& r : journal(Kind::call)) {
    if (r.pid == static_cast<std::uint32_t>(child.pid) && function_name(r.function) == "cuMemCreate")
      longest_ns = std::max(longest_ns, r.written_ns - r.start_ns);
  }
  CHECK_GE(longest_ns, 30'000'000);
  CHECK_EQ(ask(socket, "cuMemCreate:1=kill").text, "ok\n");
  child.release();
  CHECK_EQ(WTERMSIG(child.wait()), SIGKILL);
}

TEST_CASE("the control socket answers what is wrong with a request, and others are served still") {
  const std::string socket = socket_name();
  Child child("fault-creator", {"LULL_SIM_CONTROL=" + socket});
  REQUIRE_EQ(child.line(), "ready");
  const Answer answer = ask(socket, "nonsense cuNoSuchThing:1=2 'shrink 4MiB 7' 'shrink 900GiB' clear");
  CHECK_EQ(answer.status, 1);
  CHECK_NE(answer.text.find("error: 'nonsense': expected FUNCTION:WHEN=ACTION"), std::string::npos);
  CHECK_NE(answer.text.find("error: 'cuNoSuchThing': no exported function has this name"), std::string::npos);
  CHECK_NE(answer.text.find("error: there is no card 7"), std::string::npos);
  CHECK_NE(answer.text.find("bytes free\nok\n"), std::string::npos);
  CHECK_EQ(ask(socket, "clear").text, "ok\n");
  CHECK_EQ(ask("@lull-sim-nobody", "clear").status, 1);
}

TEST_CASE("a corrupted copy differs in one bit, and only the one that was asked for") {
  Child in("fault-copier", {"LULL_SIM_FAULTS=corrupt h2d:2"});
  CHECK_EQ(in.line(), "same wrong same ");
  CHECK_EQ(in.wait(), 0);
  Child out("fault-copier", {"LULL_SIM_FAULTS=corrupt d2h:3"});
  CHECK_EQ(out.line(), "same same wrong ");
  CHECK_EQ(out.wait(), 0);
}

TEST_CASE("a stream that hangs keeps its work until it is released; others go on") {
  const std::string socket = socket_name();
  Child child("fault-hanger", {"LULL_SIM_CONTROL=" + socket});
  const std::string stream = child.line();
  CHECK_EQ(ask(socket, "'hang " + stream + "'").text, "ok\n");
  child.release();
  CHECK_EQ(child.line(), "first hangs");
  CHECK_EQ(ask(socket, "'release " + stream + "'").text, "ok\n");
  CHECK_EQ(child.line(), "both are through");
  child.release();
  CHECK_EQ(child.wait(), 0);
}

TEST_CASE("a context whose stream hangs can be destroyed") {
  Child child("fault-hang-and-end", {"LULL_SIM_FAULTS=hang any"});
  CHECK_EQ(child.wait(), 0);
}

TEST_CASE("memory that a fault withholds is missing for every process, belongs to nobody, and comes back") {
  const TestContext context;
  const std::size_t before = free_bytes();
  const std::string socket = socket_name();
  Child child("fault-free", {"LULL_SIM_FAULTS=shrink 32MiB", "LULL_SIM_CONTROL=" + socket});
  CHECK_EQ(child.line(), std::to_string(before - context_bytes - 32 * MiB));
  CHECK_EQ(free_bytes(), before - context_bytes - 32 * MiB);
  CHECK_EQ(ask(socket, "'shrink 8MiB'").text, "ok\n");
  CHECK_EQ(free_bytes(), before - context_bytes - 8 * MiB);
  child.kill();
  CHECK_EQ(WTERMSIG(child.wait()), SIGKILL);
  CHECK_EQ(free_bytes(), before);
}

TEST_CASE("a program that closes all descriptors does not close the control socket") {
  const std::string socket = socket_name();
  Child child("fault-closer", {"LULL_SIM_CONTROL=" + socket});
  REQUIRE_EQ(child.line(), "closed");
  CHECK_EQ(ask(socket, "cuCtxCreate_v2:1=2").text, "ok\n");
  child.release();
  CHECK_EQ(child.wait(), 0);
}

TEST_CASE("a control socket with a path names its process, and replaces one that nobody serves") {
  const std::string path = journal_path() + ".%p";
  Child first("fault-free", {"LULL_SIM_CONTROL=" + path});
  (void)first.line();
  const std::string socket = journal_path() + "." + std::to_string(first.pid);
  CHECK_EQ(ask(socket, "clear").text, "ok\n");
  CHECK_EQ(WEXITSTATUS(Child("fault-free", {"LULL_SIM_CONTROL=" + socket}).wait()), 9);  // it is served
  first.kill();
  (void)first.wait();
  Child second("fault-free", {"LULL_SIM_CONTROL=" + socket});
  (void)second.line();
  CHECK_EQ(ask(socket, "clear").text, "ok\n");
  second.release();
  CHECK_EQ(second.wait(), 0);
  CHECK_EQ(::unlink(socket.c_str()), 0);
}
