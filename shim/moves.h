// shim/moves.h: chunks under way in one direction, cut in pieces, oldest first. The mover's thread only.
//
// Several pieces are in flight, so that the engine always has the next one; and a piece is short, so that a movement
// that nobody wants any more ends soon.
#pragma once
#include <cstdint>

#include "shim/engine.h"
#include "shim/ledger.h"
#include "shim/ring.h"

namespace lull::residency {

struct Move {
  ledger::Chunk* chunk;
  std::uint64_t issued, landed;  // bytes
  bool stopped;                  // no further piece follows: it failed, or is no longer wanted
  bool read_mostly;              // of managed memory that was advised so, and must not be while it leaves
  bool over() const { return landed == issued && (stopped || issued == chunk->bytes); }
  bool complete() const { return landed == chunk->bytes; }
};

class Moves {
 public:
  static constexpr std::uint64_t usual_piece = 16ull << 20;

  Moves(Engine& engine, unsigned slot);
  std::uint64_t piece_bytes() const { return piece_bytes_; }
  bool empty() const { return moves_.empty(); }
  bool in_flight() const { return !pieces_.empty(); }
  bool room_for_piece() const { return !pieces_.full(); }
  bool room_for_chunk() const { return !moves_.full(); }

  void begin(ledger::Chunk* chunk) { moves_.push({chunk, 0, 0, false, false}); }
  Move* open();  // the one whose pieces are being issued; null: none
  bool oldest_over() { return !moves_.empty() && moves_.oldest().over(); }
  Move take_oldest() { return moves_.pop(); }

  // The next piece of the open move. An error stops it.
  CUresult copy_out(Move&);
  CUresult copy_in(Move&);
  CUresult zero(Move&);  // all of it at once

  CUresult land();  // waits for the oldest piece; an error stops its move

 private:
  std::uint64_t next_piece(const Move&) const;
  CUresult note(Move&, std::uint64_t bytes, CUresult issued);
  Engine& engine_;
  std::uint64_t piece_bytes_;
  Ring<Move, Engine::depth> moves_;
  Ring<std::uint64_t, Engine::depth> pieces_;  // bytes of each in flight; its place is its ticket
};

}  // namespace lull::residency
