//! What the shop consists of: a function from ids to rows.
//!
//! Nothing here depends on how many products there are, so product 17 is the same in a small shop and in a large one, and every
//! chunk can be made without the ones before it.

use crate::seed::copy::CopyBuffer;
use crate::seed::random::{SplitMix64, Zipf};

/// Changes whenever other rows come out: data of another generator is not completed but replaced.
pub(crate) const GENERATOR: i32 = 1;

/// How many categories there are, whatever the number of products.
pub(crate) const CATEGORIES: u32 = 500;

/// 2024-01-01T00:00:00Z, in microseconds since 2000-01-01, as PostgreSQL counts.
const EPOCH: u64 = 757_382_400 * SECOND;
const SECOND: u64 = 1_000_000;

/// A kind of randomness of its own: nothing that the blog does moves anything here.
const PRODUCT: u64 = 0x5_4801;

pub(crate) const CATEGORY_COLUMNS: &str = "id, name";
pub(crate) const PRODUCT_COLUMNS: &str =
    "id, category_id, name, description, price_cents, currency, stock, version, updated_at";

#[rustfmt::skip]
const QUALITIES: [&str; 40] = [
    "Brushed", "Folding", "Narrow", "Heavy", "Light", "Painted", "Plain", "Polished", "Portable",
    "Quiet", "Rounded", "Rugged", "Simple", "Slim", "Smooth", "Soft", "Stackable", "Striped",
    "Sturdy", "Tall", "Waterproof", "Wide", "Woven", "Compact", "Curved", "Deep", "Double",
    "Elegant", "Flat", "Foldable", "Handmade", "Hanging", "Insulated", "Modular", "Oiled",
    "Outdoor", "Padded", "Padlocked", "Quilted", "Reinforced",
];
#[rustfmt::skip]
const MATERIALS: [&str; 25] = [
    "Oak", "Elm", "Ash", "Walnut", "Birch", "Beech", "Maple", "Pine", "Bamboo", "Cork", "Brass",
    "Copper", "Steel", "Iron", "Aluminium", "Glass", "Ceramic", "Marble", "Granite", "Linen",
    "Cotton", "Wool", "Leather", "Felt", "Rattan",
];
#[rustfmt::skip]
const THINGS: [&str; 100] = [
    "Table", "Chair", "Bench", "Stool", "Desk", "Shelf", "Bookcase", "Cabinet", "Wardrobe",
    "Drawer", "Bed", "Mattress", "Pillow", "Blanket", "Curtain", "Carpet", "Cushion", "Mirror",
    "Frame", "Clock", "Lamp", "Lantern", "Candle", "Vase", "Bowl", "Plate", "Cup", "Mug", "Jug",
    "Kettle", "Teapot", "Pan", "Pot", "Ladle", "Spoon", "Fork", "Knife", "Board", "Tray", "Jar",
    "Bottle", "Flask", "Basket", "Box", "Chest", "Crate", "Bag", "Backpack", "Suitcase", "Wallet",
    "Belt", "Scarf", "Hat", "Gloves", "Apron", "Towel", "Brush", "Comb", "Soap dish", "Broom",
    "Bucket", "Ladder", "Hammer", "Saw", "Chisel", "Plane", "Rasp", "Vice", "Wrench",
    "Screwdriver", "Drill", "Hook", "Hinge", "Handle", "Knob", "Lock", "Bell", "Rope", "Hammock",
    "Tent", "Stove", "Grill", "Parasol", "Planter", "Trellis", "Rake", "Spade", "Trowel", "Shears",
    "Watering can", "Birdhouse", "Kite", "Sledge", "Chessboard", "Puzzle", "Easel", "Notebook",
    "Pencil case", "Letter tray", "Music stand",
];
#[rustfmt::skip]
const USES: [&str; 16] = [
    "for small kitchens", "for long evenings", "for every day", "for the workshop", "for guests",
    "for the hallway", "for those who travel", "for cold mornings", "for a crowded room",
    "for the garden", "for beginners", "for people who care", "for the office", "for two",
    "for a large family", "for the next thirty years",
];
#[rustfmt::skip]
const REMARKS: [&str; 16] = [
    "Arrives assembled.", "Some assembly required.", "Repairs are free for ten years.",
    "Spare parts can be ordered one by one.", "Wipe with a damp cloth.", "Do not put it in the dishwasher.",
    "Made in small batches.", "The finish grows darker with age.", "Weighs less than it looks.",
    "Tested with twice the load.", "Comes in a box without plastic.", "Screws included.",
    "No two are alike.", "Treated with oil, not with lacquer.", "It will outlive its owner.",
    "Best kept out of the sun.",
];

/// What a number of products comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    /// The sum of all prices.
    pub(crate) prices: u64,
    /// Products per category, the first being category 1.
    pub(crate) sizes: Vec<u64>,
}

/// Everything that is made once and read by all streams.
#[derive(Debug)]
pub(crate) struct Content {
    categories: Zipf,
}

impl Content {
    pub(crate) fn new() -> Self {
        // Category r has 1/r of the first one's products: of 100,000, the first has about 14,700 and the last about 30.
        Self { categories: Zipf::new(CATEGORIES, 0) }
    }

    /// The row of a category. Its name is unique: one of 100 things, of one of five kinds.
    pub(crate) fn write_category(&self, out: &mut CopyBuffer, id: u64) {
        let rank = usize::try_from(id - 1).expect("there are 500 categories");
        let kind = ["Everyday", "Fine", "Antique", "Garden", "Travel"][rank / THINGS.len()];
        out.row(2);
        out.bigint(id);
        out.text_from(|text| {
            for part in [kind, " ", THINGS[rank % THINGS.len()]] {
                text.extend_from_slice(part.as_bytes());
            }
        });
    }

    /// The row of a product.
    pub(crate) fn write_product(&self, out: &mut CopyBuffer, id: u64) {
        let product = self.product(id);
        let mut random = product.random;
        let (quality, material, thing) = (*random.pick(&QUALITIES), *random.pick(&MATERIALS), *random.pick(&THINGS));
        out.row(9);
        out.bigint(id);
        out.bigint(product.category);
        out.text_from(|text| {
            for part in [quality, " ", material, " ", thing, " "] {
                text.extend_from_slice(part.as_bytes());
            }
            text.extend_from_slice(id.to_string().as_bytes());
        });
        out.text_from(|text| {
            for part in [thing, " ", *random.pick(&USES), ". "] {
                text.extend_from_slice(part.as_bytes());
            }
            for remark in 0..2 + random.below(3) {
                if remark > 0 {
                    text.push(b' ');
                }
                text.extend_from_slice(random.pick(&REMARKS).as_bytes());
            }
        });
        out.bigint(product.price);
        out.text(product.currency);
        out.int(random.below(500));
        out.bigint(1);
        out.bigint(EPOCH + id * SECOND);
    }

    /// What `products` products come to.
    pub(crate) fn totals(&self, products: u64) -> Totals {
        let mut totals = Totals { prices: 0, sizes: vec![0; CATEGORIES as usize] };
        for id in 1..=products {
            let product = self.product(id);
            totals.prices += product.price;
            let rank = usize::try_from(product.category - 1).expect("there are 500 categories");
            totals.sizes[rank] += 1;
        }
        totals
    }

    /// The numbers of a product; the texts follow from the rest of its randomness.
    fn product(&self, id: u64) -> Product {
        let mut random = SplitMix64::of(PRODUCT, id);
        let category = self.categories.draw(&mut random) as u64 + 1;
        let currency = *random.pick(&["EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "EUR", "USD", "USD", "GBP"]);
        // Most things are cheap: 2.00 to 40.00 for half of them, up to 2,000.00 for one in a hundred.
        let scale = *random.pick(&[4_000_u32, 4_000, 20_000, 200_000]);
        let price = u64::from(200 + random.below(scale));
        Product { category, currency, price, random }
    }
}

struct Product {
    category: u64,
    currency: &'static str,
    price: u64,
    random: SplitMix64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn categories_have_zipf_sizes_and_the_largest_over_ten_thousand() {
        let sizes = Content::new().totals(100_000).sizes;
        assert_eq!(sizes.iter().sum::<u64>(), 100_000);
        assert!((14_000..15_500).contains(&sizes[0]), "{}", sizes[0]);
        // rank * size is about the same at every rank.
        for rank in [10_u64, 50, 100] {
            let product = rank * sizes[usize::try_from(rank).unwrap() - 1];
            assert!((11_000..18_500).contains(&product), "rank {rank}: {product}");
        }
        assert!(sizes.iter().all(|&size| size > 0), "a category is empty");
    }

    #[test]
    fn category_names_are_unique() {
        let content = Content::new();
        let name = |id| {
            let mut out = CopyBuffer::default();
            content.write_category(&mut out, id);
            out.as_bytes()[14..].to_vec()
        };
        let names: BTreeSet<Vec<u8>> = (1..=u64::from(CATEGORIES)).map(name).collect();
        assert_eq!(names.len(), CATEGORIES as usize);
        assert_eq!(THINGS.iter().collect::<BTreeSet<_>>().len(), THINGS.len());
    }

    #[test]
    fn a_row_is_always_the_same() {
        let content = Content::new();
        let row = |id| {
            let mut out = CopyBuffer::default();
            content.write_product(&mut out, id);
            out.as_bytes().to_vec()
        };
        assert_eq!(row(17), row(17));
        assert_ne!(row(17)[14..], row(18)[14..]);
        let bytes: usize = (1..=1_000).map(|id| row(id).len()).sum();
        assert!((150_000..350_000).contains(&bytes), "1,000 products have {bytes} bytes");
    }

    #[test]
    fn prices_are_never_negative_and_mostly_small() {
        let content = Content::new();
        let prices: Vec<u64> = (1..=10_000).map(|id| content.product(id).price).collect();
        assert!(prices.iter().all(|price| (200..=200_200).contains(price)));
        assert!(prices.iter().filter(|&&price| price < 4_200).count() > 5_000);
    }
}
