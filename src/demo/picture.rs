//! The picture of the demo's stream: a clock on a moving background, as H.264 without an encoder.
//!
//! Every frame is an IDR frame of raw macroblocks (I_PCM; ITU-T H.264 section 7.3.5), so each can be generated independently.
//! Samples stay within 16 to 235, as usual in video, which also avoids start codes.

use std::time::Duration;

/// Width in macroblocks of 16 pixels.
const WIDTH: usize = 12;
/// Height in macroblocks.
const HEIGHT: usize = 7;

/// Pixels on a side of a cell (a quarter of a macroblock), the dots of digits.
const CELL: usize = 8;

const GLYPH_WIDTH: usize = 3;
const GLYPH_HEIGHT: usize = 5;
const GLYPHS: usize = 5;

/// Glyphs, three bits for each row: 0 to 9 and the colon.
const FONT: [[u8; GLYPH_HEIGHT]; 11] = [
    [7, 5, 5, 5, 7],
    [2, 6, 2, 2, 7],
    [7, 1, 7, 4, 7],
    [7, 1, 3, 1, 7],
    [5, 5, 7, 1, 1],
    [7, 4, 7, 1, 7],
    [7, 4, 7, 5, 7],
    [7, 1, 2, 2, 2],
    [7, 5, 7, 5, 7],
    [7, 5, 7, 1, 7],
    [0, 2, 0, 2, 0],
];

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Access unit number `index`, shown at `time`: delimiter, parameter sets and one slice.
pub fn frame(index: u64, time: Duration) -> Vec<u8> {
    let mut out = Vec::with_capacity(WIDTH * HEIGHT * 386 + 64);
    out.extend(START_CODE);
    out.extend([0x09, 0x10]); // access unit delimiter: I slices only
    out.extend(START_CODE);
    out.extend(sequence_parameters());
    out.extend(START_CODE);
    out.extend(picture_parameters());
    out.extend(START_CODE);
    out.extend(slice(index, time));
    out
}

fn sequence_parameters() -> Vec<u8> {
    let mut bits = Bits::new(0x67);
    bits.put(66, 8); // baseline profile,
    bits.put(0xc0, 8); // constrained
    bits.put(20, 8); // level 2: up to 2 Mbit/s
    bits.ue(0); // seq_parameter_set_id
    bits.ue(0); // log2_max_frame_num_minus4
    bits.ue(2); // pic_order_cnt_type: output in decoding order
    bits.ue(1); // max_num_ref_frames
    bits.put(0, 1); // gaps_in_frame_num_value_allowed_flag
    bits.ue(WIDTH as u32 - 1);
    bits.ue(HEIGHT as u32 - 1);
    bits.put(1, 1); // frame_mbs_only_flag
    bits.put(1, 1); // direct_8x8_inference_flag
    bits.put(0, 1); // frame_cropping_flag
    bits.put(0, 1); // vui_parameters_present_flag
    bits.end()
}

fn picture_parameters() -> Vec<u8> {
    let mut bits = Bits::new(0x68);
    bits.ue(0); // pic_parameter_set_id
    bits.ue(0); // seq_parameter_set_id
    bits.put(0, 1); // entropy_coding_mode_flag: CAVLC
    bits.put(0, 1); // bottom_field_pic_order_in_frame_present_flag
    bits.ue(0); // num_slice_groups_minus1
    bits.ue(0); // num_ref_idx_l0_default_active_minus1
    bits.ue(0); // num_ref_idx_l1_default_active_minus1
    bits.put(0, 3); // weighted_pred_flag, weighted_bipred_idc
    bits.ue(0); // pic_init_qp_minus26, 0 as se(v)
    bits.ue(0); // pic_init_qs_minus26
    bits.ue(0); // chroma_qp_index_offset
    bits.put(1, 1); // deblocking_filter_control_present_flag
    bits.put(0, 2); // constrained_intra_pred_flag, redundant_pic_cnt_present_flag
    bits.end()
}

fn slice(index: u64, time: Duration) -> Vec<u8> {
    let mut bits = Bits::new(0x65);
    bits.ue(0); // first_mb_in_slice
    bits.ue(7); // slice_type: all slices of the picture are I
    bits.ue(0); // pic_parameter_set_id
    bits.put(0, 4); // frame_num
    bits.ue((index % 2) as u32); // idr_pic_id: differs from the frame before
    bits.put(0, 2); // no_output_of_prior_pics_flag, long_term_reference_flag
    bits.ue(0); // slice_qp_delta, 0 as se(v)
    bits.ue(1); // disable_deblocking_filter_idc
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            bits.ue(25); // mb_type: I_PCM
            bits.align();
            macroblock(&mut bits.out, index, time, x, y);
        }
    }
    bits.end()
}

fn macroblock(out: &mut Vec<u8>, index: u64, time: Duration, x: usize, y: usize) {
    for row in 0..16 {
        for cell in 0..16 / CELL {
            let (cell_x, cell_y) = (x * 16 / CELL + cell, y * 16 / CELL + row / CELL);
            let luma = if is_lit(cell_x, cell_y, time) {
                235
            } else {
                40 + ((cell_x * 3 + cell_y * 5 + index as usize * 2) % 64) as u8
            };
            out.extend([luma; CELL]);
        }
    }
    let blue = 128 + (y * 8) as u8;
    let red = 112 - (x * 4) as u8;
    out.extend([blue; 64]);
    out.extend([red; 64]);
}

/// Whether a cell belongs to the clock's digits (minutes and seconds).
fn is_lit(x: usize, y: usize, time: Duration) -> bool {
    let left = (WIDTH * 16 / CELL - GLYPHS * (GLYPH_WIDTH + 1)) / 2;
    let top = (HEIGHT * 16 / CELL - GLYPH_HEIGHT) / 2;
    let (Some(x), Some(y)) = (x.checked_sub(left), y.checked_sub(top)) else {
        return false;
    };
    let (minutes, seconds) = (time.as_secs() / 60 % 100, time.as_secs() % 60);
    let clock = [minutes / 10, minutes % 10, 10, seconds / 10, seconds % 10];
    let column = x % (GLYPH_WIDTH + 1);
    let (Some(glyph), true) = (clock.get(x / (GLYPH_WIDTH + 1)), column < GLYPH_WIDTH) else {
        return false;
    };
    FONT[*glyph as usize]
        .get(y)
        .is_some_and(|row| row >> (GLYPH_WIDTH - 1 - column) & 1 == 1)
}

/// Writes the bits of a NAL unit, most significant first.
struct Bits {
    out: Vec<u8>,
    /// Bits used of the last byte; 0: none is begun.
    taken: u32,
}

impl Bits {
    fn new(nal_header: u8) -> Self {
        Bits {
            out: vec![nal_header],
            taken: 0,
        }
    }

    fn put(&mut self, value: u32, bits: u32) {
        for bit in (0..bits).rev() {
            if self.taken == 0 {
                self.out.push(0);
            }
            let set = (value >> bit & 1) as u8;
            if let Some(last) = self.out.last_mut() {
                *last |= set << (7 - self.taken);
            }
            self.taken = (self.taken + 1) % 8;
        }
    }

    /// An unsigned Exp-Golomb code (section 9.1).
    fn ue(&mut self, value: u32) {
        let code = value + 1;
        let len = code.ilog2();
        self.put(0, len);
        self.put(code, len + 1);
    }

    fn align(&mut self) {
        self.taken = 0;
    }

    fn end(mut self) -> Vec<u8> {
        self.put(1, 1); // rbsp_stop_one_bit
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_coded_as_the_standard_shows() {
        let mut bits = Bits::new(0);
        for value in 0..5 {
            bits.ue(value);
        }
        // 1 010 011 00100 00101, then the stop bit
        assert_eq!(bits.end(), [0, 0b1010_0110, 0b0100_0010, 0b1100_0000]);
    }

    #[test]
    fn no_start_code_stands_inside_a_unit() {
        for index in [0, 1, 2999] {
            let frame = frame(index, Duration::from_millis(index * 200));
            let forbidden = frame
                .windows(3)
                .filter(|w| w[0] == 0 && w[1] == 0 && w[2] <= 3);
            // each of the four start codes shows as 00 00 00 and 00 00 01
            assert_eq!(forbidden.count(), 8);
        }
    }

    #[test]
    fn all_frames_have_one_length() {
        let first = frame(0, Duration::ZERO).len();
        assert_eq!(frame(2, Duration::from_secs(599)).len(), first);
    }
}
