use super::*;

#[test]
fn an_id_reads_back_what_it_prints() {
    let id = BlobId::of(b"");
    // The published BLAKE3 test vector of the empty input.
    let text = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(id.to_string(), text);
    assert_eq!(text.parse::<BlobId>(), Ok(id));
    assert_eq!(id.short(), &text[..12]);
}

#[test]
fn text_that_is_no_digest_is_refused() {
    let good = Digest::of(b"x").to_string();
    for bad in ["", "af13", &good[1..], &good.to_uppercase(), &format!("{good}0")] {
        assert!(bad.parse::<Digest>().is_err(), "{bad:?}");
    }
}
