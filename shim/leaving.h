// shim/leaving.h: threads at their end, and programs. What an exit handler or a destructor submits would wait at a
// closed gate until the broker's next word, and nobody who ends a program expects that.
//
// A thread that calls exit(), or returns from main(), first runs the destructors of its thread-local objects, then the
// exit handlers, all of them itself. So a destructor of ours in every thread that has come by the gate says in time
// that this one is leaving. Two more signs: an exit handler of ours, for what comes after it on a thread that the gate
// has not met; and Python's own word that it is finalising.
//
// What follows from it is in gate::Pass::wait: the broker is told, as it is of a signal, and gives the card next; and
// where nothing but the gate is in the way, a leaving thread waits for a second in all and then passes it. Memory that
// is away is waited for: what a program saves at its end is what it has computed.
#pragma once

namespace lull::leaving {

void watch_program();  // once, with the program's first use of the GPU
void watch_thread();   // once a thread
bool now();            // whether the calling thread is leaving
bool patient();        // whether it has not yet waited for its second; the first question begins it

}  // namespace lull::leaving
