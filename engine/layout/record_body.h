// Bodies of journal records, without their frame (record.cpp). One trio per kind.
//
// body_bytes() is exactly what encode_body() appends. decode_body() takes hostile bytes: false unless the
// body, up to seven zeroes of padding aside, is what encode_body() writes; it never allocates more than a
// small multiple of the body. Pure; any thread.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "layout/record.h"

namespace coppice {

std::size_t body_bytes(const MapRecord& record);
std::size_t body_bytes(const ChecksumRecord& record);
std::size_t body_bytes(const MetaRecord& record);
std::size_t body_bytes(const ReclaimRecord& record);

void encode_body(const MapRecord& record, std::vector<std::byte>& into);
void encode_body(const ChecksumRecord& record, std::vector<std::byte>& into);
void encode_body(const MetaRecord& record, std::vector<std::byte>& into);
void encode_body(const ReclaimRecord& record, std::vector<std::byte>& into);

bool decode_body(std::span<const std::byte> body, MapRecord& into);
bool decode_body(std::span<const std::byte> body, ChecksumRecord& into);
bool decode_body(std::span<const std::byte> body, MetaRecord& into);
bool decode_body(std::span<const std::byte> body, ReclaimRecord& into);

}  // namespace coppice
