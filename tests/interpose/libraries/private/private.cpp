extern "C" int lull_private_answer() { return 42; }
