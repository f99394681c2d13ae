#include "shim/moves.h"

namespace lull::residency {
namespace {

std::uint64_t next_piece(const Move& move) {
  const std::uint64_t rest = move.chunk->bytes - move.issued;
  return rest < Moves::piece_bytes ? rest : Moves::piece_bytes;
}

}  // namespace

Move* Moves::open() {
  if (moves_.empty()) return nullptr;
  Move& newest = moves_.newest();
  return newest.stopped || newest.issued == newest.chunk->bytes ? nullptr : &newest;
}

CUresult Moves::note(Move& move, std::uint64_t bytes, CUresult issued) {
  if (issued != CUDA_SUCCESS) {
    move.stopped = true;
    return issued;
  }
  move.issued += bytes;
  pieces_.push(bytes);
  return CUDA_SUCCESS;
}

CUresult Moves::copy_out(Move& move) {
  const std::uint64_t bytes = next_piece(move);
  if (move.chunk->region->managed)
    return note(move, bytes, engine_.prefetch_out(move.chunk->base + move.issued, bytes, pieces_.next_place()));
  return note(
      move, bytes,
      engine_.copy_out(move.chunk->host + move.issued, move.chunk->base + move.issued, bytes, pieces_.next_place()));
}

CUresult Moves::copy_in(Move& move) {
  const std::uint64_t bytes = next_piece(move);
  if (const ledger::Region& region = *move.chunk->region; region.managed)
    return note(move, bytes,
                engine_.prefetch_in(move.chunk->base + move.issued, bytes, static_cast<CUdevice>(region.slot),
                                    pieces_.next_place()));
  return note(
      move, bytes,
      engine_.copy_in(move.chunk->base + move.issued, move.chunk->host + move.issued, bytes, pieces_.next_place()));
}

CUresult Moves::zero(Move& move) {
  return note(move, move.chunk->bytes, engine_.zero(move.chunk->base, move.chunk->bytes, pieces_.next_place()));
}

CUresult Moves::land() {
  const CUresult finished = engine_.wait(pieces_.oldest_place());
  Move& move = moves_.oldest();  // finished in order, and what is over has been taken away
  const std::uint64_t bytes = pieces_.pop();
  if (finished != CUDA_SUCCESS) {
    move.stopped = true;
    move.issued -= bytes;  // it has not arrived
  } else {
    move.landed += bytes;
  }
  return finished;
}

}  // namespace lull::residency
