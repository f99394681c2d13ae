#include "shim/moves.h"

#include "shim/managed.h"
#include "shim/process.h"

namespace lull::residency {
namespace {

// As the broker has measured it, within what makes sense; else as usual.
std::uint64_t piece_for(unsigned slot) {
  constexpr std::uint64_t least = 1ull << 20, most = 256ull << 20, unit = 64ull << 10;
  const std::uint64_t told = process::down().gpu[slot].piece_bytes.load(std::memory_order_acquire);
  return told < least || told > most ? Moves::usual_piece : told / unit * unit;
}

}  // namespace

Moves::Moves(Engine& engine, unsigned slot) : engine_(engine), piece_bytes_(piece_for(slot)) {}

std::uint64_t Moves::next_piece(const Move& move) const {
  const std::uint64_t rest = move.chunk->bytes - move.issued;
  return rest < piece_bytes_ ? rest : piece_bytes_;
}

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
  if (move.chunk->region->managed) {
    if (move.issued == 0) move.read_mostly = managed::unset_read_mostly(*move.chunk);
    return note(move, bytes, engine_.prefetch_out(move.chunk->base + move.issued, bytes, pieces_.next_place()));
  }
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
