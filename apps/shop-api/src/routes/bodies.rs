//! The bodies of requests: first JSON of the right shape, then values that are allowed. All that is wrong with the
//! values is told at once.

use serde::Deserialize;
use service::parse::Checked;
use utoipa::ToSchema;

use crate::domain::{Amount, CategoryId, Currency, Description, Invalid, Name, Percent, Price, Stock};
use crate::error::Error;
use crate::store::{NewProduct, ProductUpdate};

/// What something shall cost.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceBody {
    /// In units of the currency's smallest coin: 1999 is 19.99.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 1999)]
    amount: i64,
    /// Three capital letters, as in ISO 4217. A product keeps the currency that it was added with.
    #[schema(min_length = 3, max_length = 3, example = "EUR")]
    currency: String,
}

/// A product to be added.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"category_id": 7, "name": "Oak table", "description": "Seats six.", "price": {"amount": 49900, "currency": "EUR"}, "stock": 3}))]
pub(super) struct CreateProduct {
    /// The category that it stays in for its whole life.
    #[schema(minimum = 1)]
    category_id: i64,
    /// 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// At most 8,192 bytes of UTF-8, without the character NUL.
    #[serde(default)]
    description: String,
    /// What it costs.
    price: PriceBody,
    /// How many pieces there are.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    stock: i64,
}

/// What a product shall be from now on.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Oak table", "description": "Seats eight.", "price": {"amount": 54900, "currency": "EUR"}, "stock": 2}))]
pub(super) struct ReplaceProduct {
    /// 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// At most 8,192 bytes of UTF-8, without the character NUL.
    description: String,
    /// What it costs.
    price: PriceBody,
    /// How many pieces there are.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    stock: i64,
}

/// What a product shall cost from now on.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"price": {"amount": 44900, "currency": "EUR"}}))]
pub(super) struct SetPrice {
    /// What it costs.
    price: PriceBody,
}

/// By how much prices change.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"percent": -10}))]
pub(super) struct Reprice {
    /// In per cent of the price that each product has.
    #[schema(minimum = -99, maximum = 900)]
    percent: i64,
}

fn price(checked: &mut Checked, body: &PriceBody) -> Option<Price> {
    let amount = checked.field("/price/amount", Amount::parse(body.amount));
    let currency = checked.field("/price/currency", body.currency.parse::<Currency>());
    Some(Price { amount: amount?, currency: currency? })
}

fn category(number: i64) -> Result<CategoryId, Invalid> {
    match number {
        1.. => Ok(CategoryId::of_row(number)),
        _ => Err(Invalid::rule("must be a whole number from 1 on")),
    }
}

impl CreateProduct {
    pub(super) fn parse(self) -> Result<NewProduct, Error> {
        let mut checked = Checked::new();
        let category = checked.field("/category_id", category(self.category_id));
        let name = checked.field("/name", Name::parse(self.name));
        let description = checked.field("/description", Description::parse(self.description));
        let price = price(&mut checked, &self.price);
        let stock = checked.field("/stock", Stock::parse(self.stock));
        let product = || {
            Some(NewProduct {
                category: category?,
                name: name?,
                description: description?,
                price: price?,
                stock: stock?,
            })
        };
        Ok(checked.finish(product())?)
    }
}

impl ReplaceProduct {
    pub(super) fn parse(self) -> Result<ProductUpdate, Error> {
        let mut checked = Checked::new();
        let name = checked.field("/name", Name::parse(self.name));
        let description = checked.field("/description", Description::parse(self.description));
        let price = price(&mut checked, &self.price);
        let stock = checked.field("/stock", Stock::parse(self.stock));
        let update = || Some(ProductUpdate { name: name?, description: description?, price: price?, stock: stock? });
        Ok(checked.finish(update())?)
    }
}

impl SetPrice {
    pub(super) fn parse(&self) -> Result<Price, Error> {
        let mut checked = Checked::new();
        let price = price(&mut checked, &self.price);
        Ok(checked.finish(price)?)
    }
}

impl Reprice {
    pub(super) fn parse(&self) -> Result<Percent, Error> {
        let mut checked = Checked::new();
        let percent = checked.field("/percent", Percent::parse(self.percent));
        Ok(checked.finish(percent)?)
    }
}
